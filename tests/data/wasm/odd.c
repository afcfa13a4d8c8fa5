/* A flow that counts rows, and misbehaves in a way of its own for some values. Built as examples/wasm/README.md says. */
#define MS_DESCRIPTION \
    "{\"abi\": 1, \"inputs\": [{\"pattern\": \"acme/**:row\"}], \"outputs\": [\"count\"], \"idle_ms\": null}"
#include "millstream.h"

__attribute__((import_module("millstream"), import_name("log"))) void ms_log(const char *text, u32 size);

static u32 kept; /* a module that is started anew for each step finds 0 here */

static void ms_step(ms_reader *in, ms_writer *out) {
    ms_array(in);
    i64 total = ms_take_nil(in) ? 0 : ms_int(in);
    ms_array(in);
    ms_text key = ms_string(in);
    ms_string(in);
    i64 time_ns = ms_int(in);
    i64 value = ms_int(in);
    if (value == -1) {
        ms_log("no such row", 11);
        MS_FAIL();
    }
    if (value == -2) for (volatile u32 i = 0;; i++) {}
    if (value == -3) {
        while (__builtin_wasm_memory_grow(0, 1) != (__SIZE_TYPE__)-1) {}
        MS_FAIL();
    }
    if (value == -4) { /* no answer at all */
        ms_put_int(out, 1);
        return;
    }
    if (value == -5) { /* an effect that there is none of */
        ms_put_array(out, 2);
        ms_put_nil(out);
        ms_put_array(out, 1);
        ms_put_array(out, 1);
        ms_put_name(out, "format_disk");
        return;
    }
    if (value == -6) { /* a kind that it did not declare */
        ms_put_array(out, 2);
        ms_put_nil(out);
        ms_put_array(out, 1);
        ms_put_array(out, 5);
        ms_put_name(out, "emit");
        ms_put_text(out, key, ":rows");
        ms_put_int(out, 1);
        ms_put_int(out, time_ns);
        ms_put_name(out, "kpi");
        return;
    }
    total += 1 + kept++;
    ms_put_array(out, 2);
    ms_put_int(out, total);
    ms_put_array(out, 1);
    ms_put_array(out, 4);
    ms_put_name(out, "emit");
    ms_put_text(out, key, ":rows");
    ms_put_int(out, total);
    ms_put_int(out, time_ns);
}
