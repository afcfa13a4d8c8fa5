/* How long a press takes for a part, and an event when one takes too long: the flow of docs/how-to/flows.md, in C. */
#define MS_DESCRIPTION \
    "{\"abi\": 1, \"inputs\": [{\"pattern\": \"acme/plant1/**:parts\", \"kind\": \"count\"}]," \
    " \"outputs\": [\"kpi\", \"event\"], \"description\": \"Time of a cycle, and an event when it takes too long\"}"
#include "millstream.h"

#define SECOND 1000000000LL
#define TOO_LONG (30 * SECOND)

static void ms_step(ms_reader *in, ms_writer *out) {
    ms_array(in); /* state, event, configuration */
    i64 part_ns = ms_take_nil(in) ? 0 : ms_int(in);
    ms_array(in); /* key, kind, time, ... */
    ms_text key = ms_string(in);
    int is_timer = ms_is(ms_string(in), "timer");
    i64 time_ns = ms_int(in);

    ms_put_array(out, 2); /* the new state, and what is to be done */
    if (is_timer) {
        ms_put_int(out, part_ns);
        ms_put_array(out, 1);
        ms_put_array(out, 5);
        ms_put_name(out, "event");
        ms_put_text(out, key, ":late");
        ms_put_name(out, "com.acme.part.late");
        ms_put_map(out, 1);
        ms_put_name(out, "after_s");
        ms_put_int(out, TOO_LONG / SECOND);
        ms_put_int(out, time_ns);
        return;
    }
    ms_put_int(out, time_ns);
    ms_put_array(out, part_ns ? 2 : 1);
    ms_put_array(out, 3);
    ms_put_name(out, "set_timer");
    ms_put_name(out, "late");
    ms_put_int(out, time_ns + TOO_LONG);
    if (!part_ns) return;
    ms_put_array(out, 7);
    ms_put_name(out, "emit");
    ms_put_text(out, key, ":cycle_time");
    ms_put_double(out, (double)(time_ns - part_ns) / SECOND);
    ms_put_int(out, time_ns);
    ms_put_name(out, "kpi");
    ms_put_int(out, 0); /* quality: good */
    ms_put_name(out, "s");
}
