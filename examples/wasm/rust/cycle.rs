//! How long a press takes for a part, and an event when one takes too long: the flow of docs/how-to/flows.md, in Rust.

mod millstream;

use millstream::{Effect, Event, Reader, State, Writer};

const SECOND: i64 = 1_000_000_000;
const TOO_LONG: i64 = 30 * SECOND;

#[derive(Default)]
struct Press {
    part_ns: i64, // when the newest part was made
}

impl State for Press {
    fn read(from: &mut Reader) -> Self {
        Press { part_ns: from.int() }
    }

    fn write(&self, to: &mut Writer) {
        to.int(self.part_ns);
    }
}

fn step(press: Press, event: &Event) -> (Press, Vec<Effect>) {
    if event.is_timer() {
        let late = Effect::Event {
            path: format!("{}:late", event.key),
            name: "com.acme.part.late",
            data: ("after_s", TOO_LONG / SECOND),
            time_ns: event.time_ns,
        };
        return (press, vec![late]);
    }
    let mut effects = vec![Effect::SetTimer { name: "late", at_ns: event.time_ns + TOO_LONG }];
    if press.part_ns != 0 {
        effects.push(Effect::Emit {
            path: format!("{}:cycle_time", event.key),
            value: (event.time_ns - press.part_ns) as f64 / SECOND as f64,
            time_ns: event.time_ns,
            kind: "kpi",
            unit: "s",
        });
    }
    (Press { part_ns: event.time_ns }, effects)
}

#[no_mangle]
pub extern "C" fn millstream_describe() -> u64 {
    millstream::describe(
        r#"{"abi": 1, "inputs": [{"pattern": "acme/plant1/**:parts", "kind": "count"}], "outputs": ["kpi", "event"],
            "description": "Time of a cycle, and an event when it takes too long"}"#,
    )
}

/// # Safety
/// Millstream gives a buffer of `millstream_alloc`.
#[no_mangle]
pub unsafe extern "C" fn millstream_step(at: *const u8, size: usize) -> u64 {
    millstream::run(at, size, step)
}
