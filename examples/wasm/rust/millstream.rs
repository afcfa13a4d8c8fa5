//! What a flow in Rust needs: MessagePack in and out, and the functions that Millstream calls. The standard library is
//! all it takes. `docs/reference/wasm.md` describes the bytes.
//!
//! A module is started anew for each step, so memory that is given out need not be taken back.

#[link(wasm_import_module = "millstream")]
extern "C" {
    fn log(at: *const u8, size: usize);
}

/// The event of a step.
#[derive(Debug)]
pub struct Event {
    pub key: String,
    pub kind: String,
    pub time_ns: i64,
}

impl Event {
    pub fn is_timer(&self) -> bool {
        self.kind == "timer"
    }
}

/// What a step wants to be done.
pub enum Effect {
    Emit { path: String, value: f64, time_ns: i64, kind: &'static str, unit: &'static str },
    Event { path: String, name: &'static str, data: (&'static str, i64), time_ns: i64 },
    SetTimer { name: &'static str, at_ns: i64 },
}

/// Reads one value after the other; what is of another type ends the step with a message.
pub struct Reader<'a> {
    data: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (first, rest) = self.data.split_at(count);
        self.data = rest;
        first
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    pub fn nil(&mut self) -> bool {
        let found = self.data.first() == Some(&0xc0);
        if found {
            self.byte();
        }
        found
    }

    pub fn int(&mut self) -> i64 {
        match self.byte() {
            mark @ 0..=0x7f => i64::from(mark),
            mark @ 0xe0..=0xff => i64::from(mark as i8),
            mark @ 0xcc..=0xcf => self.number(1 << (mark - 0xcc)) as i64,
            0xd0 => i64::from(self.number(1) as i8),
            0xd1 => i64::from(self.number(2) as i16),
            0xd2 => i64::from(self.number(4) as i32),
            0xd3 => self.number(8) as i64,
            mark => panic!("no whole number: {:#x}", mark),
        }
    }

    pub fn array(&mut self) -> usize {
        match self.byte() {
            mark @ 0x90..=0x9f => usize::from(mark & 0x0f),
            0xdc => self.number(2) as usize,
            mark => panic!("no array: {:#x}", mark),
        }
    }

    pub fn text(&mut self) -> String {
        let size = match self.byte() {
            mark @ 0xa0..=0xbf => usize::from(mark & 0x1f),
            mark @ 0xd9..=0xdb => self.number(1 << (mark - 0xd9)) as usize,
            mark => panic!("no text: {:#x}", mark),
        };
        String::from_utf8(self.take(size).to_vec()).expect("UTF-8")
    }
}

/// Writes one value after the other.
#[derive(Default)]
pub struct Writer {
    data: Vec<u8>,
}

impl Writer {
    pub fn array(&mut self, count: usize) {
        self.data.push(0xdc);
        self.data.extend((count as u16).to_be_bytes());
    }

    pub fn int(&mut self, value: i64) {
        self.data.push(0xd3);
        self.data.extend(value.to_be_bytes());
    }

    pub fn float(&mut self, value: f64) {
        self.data.push(0xcb);
        self.data.extend(value.to_be_bytes());
    }

    pub fn text(&mut self, value: &str) {
        self.data.push(0xdb);
        self.data.extend((value.len() as u32).to_be_bytes());
        self.data.extend(value.as_bytes());
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Emit { path, value, time_ns, kind, unit } => {
                self.array(7);
                self.text("emit");
                self.text(path);
                self.float(*value);
                self.int(*time_ns);
                self.text(kind);
                self.int(0); // quality: good
                self.text(unit);
            }
            Effect::Event { path, name, data, time_ns } => {
                self.array(5);
                self.text("event");
                self.text(path);
                self.text(name);
                self.data.push(0x81); // a map of one
                self.text(data.0);
                self.int(data.1);
                self.int(*time_ns);
            }
            Effect::SetTimer { name, at_ns } => {
                self.array(3);
                self.text("set_timer");
                self.text(name);
                self.int(*at_ns);
            }
        }
    }
}

/// The state of a flow: how it is read and written. Nil is no state yet.
pub trait State: Default {
    fn read(from: &mut Reader) -> Self;
    fn write(&self, to: &mut Writer);
}

fn packed(data: &[u8]) -> u64 {
    (data.as_ptr() as u64) << 32 | data.len() as u64
}

pub fn describe(text: &'static str) -> u64 {
    packed(text.as_bytes())
}

/// Told with the failure of the step, should it fail.
pub fn say(text: &str) {
    unsafe { log(text.as_ptr(), text.len()) };
}

#[no_mangle]
pub extern "C" fn millstream_alloc(size: usize) -> *mut u8 {
    Box::leak(vec![0u8; size].into_boxed_slice()).as_mut_ptr()
}

/// Runs `step` on what Millstream has put at `at`; what it returns is where the answer lies.
///
/// # Safety
/// `at` and `size` are those of a buffer of `millstream_alloc`.
pub unsafe fn run<S: State>(at: *const u8, size: usize, step: fn(S, &Event) -> (S, Vec<Effect>)) -> u64 {
    std::panic::set_hook(Box::new(|why| say(&why.to_string())));
    let mut reader = Reader { data: std::slice::from_raw_parts(at, size) };
    reader.array(); // state, event, configuration
    let state = if reader.nil() { S::default() } else { S::read(&mut reader) };
    reader.array();
    let event = Event { key: reader.text(), kind: reader.text(), time_ns: reader.int() };
    let (state, effects) = step(state, &event);
    let mut writer = Writer::default();
    writer.array(2);
    state.write(&mut writer);
    writer.array(effects.len());
    for effect in &effects {
        writer.effect(effect);
    }
    packed(writer.data.leak())
}
