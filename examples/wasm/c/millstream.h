/* What a flow in C needs: MessagePack in and out, and the three functions that Millstream calls. No library, no heap:
 * a module is started anew for each step, so one buffer for what comes in and one for what goes out are enough.
 *
 * docs/reference/wasm.md describes the bytes. */
#ifndef MILLSTREAM_H
#define MILLSTREAM_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define MS_EXPORT(name) __attribute__((export_name(#name)))
#define MS_IN_MAX (512 * 1024)
#define MS_OUT_MAX (512 * 1024)
#define MS_FAIL() __builtin_trap()

typedef struct { const u8 *at, *end; } ms_reader;
typedef struct { const char *text; u32 size; } ms_text;
typedef struct { u8 *at, *end; } ms_writer;

static u8 ms_in[MS_IN_MAX], ms_out[MS_OUT_MAX];

/* -- reading: each call takes one value; what is of another type ends the step ------------------------------------- */

static u8 ms_byte(ms_reader *r) {
    if (r->at >= r->end) MS_FAIL();
    return *r->at++;
}

static u64 ms_big_endian(ms_reader *r, int bytes) {
    u64 value = 0;
    while (bytes--) value = value << 8 | ms_byte(r);
    return value;
}

static int ms_take_nil(ms_reader *r) { /* 1: it was nil, and is taken */
    if (r->at < r->end && *r->at == 0xc0) { r->at++; return 1; }
    return 0;
}

static i64 ms_int(ms_reader *r) {
    u8 mark = ms_byte(r);
    if (mark < 0x80) return mark;
    if (mark >= 0xe0) return (signed char)mark;
    switch (mark) {
    case 0xcc: return (i64)ms_big_endian(r, 1);
    case 0xcd: return (i64)ms_big_endian(r, 2);
    case 0xce: return (i64)ms_big_endian(r, 4);
    case 0xcf: return (i64)ms_big_endian(r, 8);
    case 0xd0: return (signed char)ms_big_endian(r, 1);
    case 0xd1: return (short)ms_big_endian(r, 2);
    case 0xd2: return (int)ms_big_endian(r, 4);
    case 0xd3: return (i64)ms_big_endian(r, 8);
    }
    MS_FAIL();
}

static u32 ms_array(ms_reader *r) { /* how many values follow */
    u8 mark = ms_byte(r);
    if ((mark & 0xf0) == 0x90) return mark & 0x0f;
    if (mark == 0xdc) return (u32)ms_big_endian(r, 2);
    MS_FAIL();
}

static ms_text ms_string(ms_reader *r) { /* nil is an empty one */
    ms_text found = {0, 0};
    u8 mark = ms_byte(r);
    if (mark == 0xc0) return found;
    if ((mark & 0xe0) == 0xa0) found.size = mark & 0x1f;
    else if (mark >= 0xd9 && mark <= 0xdb) found.size = (u32)ms_big_endian(r, 1 << (mark - 0xd9));
    else MS_FAIL();
    if (found.size > (u32)(r->end - r->at)) MS_FAIL();
    found.text = (const char *)r->at;
    r->at += found.size;
    return found;
}

static int ms_is(ms_text text, const char *other) {
    u32 i = 0;
    for (; i < text.size; i++)
        if (!other[i] || other[i] != text.text[i]) return 0;
    return !other[i];
}

/* -- writing ------------------------------------------------------------------------------------------------------- */

static void ms_put(ms_writer *w, u8 byte) {
    if (w->at >= w->end) MS_FAIL();
    *w->at++ = byte;
}

static void ms_put_bytes(ms_writer *w, u64 value, int bytes) {
    while (bytes--) ms_put(w, (u8)(value >> (8 * bytes)));
}

static void ms_put_nil(ms_writer *w) { ms_put(w, 0xc0); }
static void ms_put_array(ms_writer *w, u32 count) { ms_put(w, 0xdc); ms_put_bytes(w, count, 2); }
static void ms_put_map(ms_writer *w, u32 count) { ms_put(w, 0xde); ms_put_bytes(w, count, 2); }
static void ms_put_int(ms_writer *w, i64 value) { ms_put(w, 0xd3); ms_put_bytes(w, (u64)value, 8); }

static void ms_put_double(ms_writer *w, double value) {
    union { double number; u64 bits; } both = {value};
    ms_put(w, 0xcb);
    ms_put_bytes(w, both.bits, 8);
}

/* The key of the event with something behind it: `acme/press` and `:late` are the path `acme/press:late`. */
static void ms_put_text(ms_writer *w, ms_text first, const char *then) {
    u32 more = 0;
    while (then[more]) more++;
    ms_put(w, 0xdb);
    ms_put_bytes(w, first.size + more, 4);
    for (u32 i = 0; i < first.size; i++) ms_put(w, (u8)first.text[i]);
    for (u32 i = 0; i < more; i++) ms_put(w, (u8)then[i]);
}

static void ms_put_name(ms_writer *w, const char *name) {
    ms_text none = {0, 0};
    ms_put_text(w, none, name);
}

/* -- what Millstream calls: the flow itself defines MS_DESCRIPTION and ms_step -------------------------------------- */

static void ms_step(ms_reader *in, ms_writer *out);

MS_EXPORT(millstream_alloc) u8 *millstream_alloc(u32 size) {
    if (size > MS_IN_MAX) MS_FAIL();
    return ms_in;
}

MS_EXPORT(millstream_step) u64 millstream_step(const u8 *at, u32 size) {
    ms_reader in = {at, at + size};
    ms_writer out = {ms_out, ms_out + MS_OUT_MAX};
    ms_step(&in, &out);
    return (u64)(u32)ms_out << 32 | (u32)(out.at - ms_out);
}

MS_EXPORT(millstream_describe) u64 millstream_describe(void) {
    static const char text[] = MS_DESCRIPTION;
    return (u64)(u32)text << 32 | (sizeof text - 1);
}
#endif
