//! The pickles that state dicts are kept in, read by a machine that knows only what those need: it
//! builds data, calls nothing, and refuses every other opcode and every other global by name.
//!
//! The language is that of Python's `pickle`, protocol 2 (the opcodes are described in
//! `pickletools.py`); the globals and what they are called with are those of `torch/_utils.py`.

use crate::error::{Error, Result};
use ::safetensors::Dtype;
use std::collections::HashMap;

/// More than the pickle of any model, which holds names and shapes and no weights. The values may take
/// up to two hundred bytes for each of the pickle's, so this bounds the memory too.
pub(super) const LONGEST: usize = 4 << 20;

/// What a pickle builds. What holds other values holds them by number, in the [`Pickle`]: values are
/// small, may refer to each other in a circle, and are freed without recursion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Global(Global),
    Tuple(usize),
    List(usize),
    Dict(usize),
    /// A persistent id: the tuple that says which storage is meant.
    Storage(usize),
    /// What `_rebuild_tensor_v2` would return for this tuple of arguments.
    Tensor(usize),
}

impl Value<'_> {
    /// As a message names it.
    pub fn kind(self) -> String {
        match self {
            Value::None => "None".to_string(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) => format!("the text {}", short(text)),
            Value::Global(_) => "a function or class".to_string(),
            Value::Tuple(_) => "a tuple".to_string(),
            Value::List(_) => "a list".to_string(),
            Value::Dict(_) => "a dict".to_string(),
            Value::Storage(_) => "a storage".to_string(),
            Value::Tensor(_) => "a tensor".to_string(),
        }
    }
}

/// The names that a pickle may speak of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    fn of(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
            ("torch", storage) => Some(Global::Storage(match storage {
                "DoubleStorage" => Dtype::F64,
                "FloatStorage" => Dtype::F32,
                "HalfStorage" => Dtype::F16,
                "BFloat16Storage" => Dtype::BF16,
                "LongStorage" => Dtype::I64,
                "IntStorage" => Dtype::I32,
                "ShortStorage" => Dtype::I16,
                "CharStorage" => Dtype::I8,
                "ByteStorage" => Dtype::U8,
                "BoolStorage" => Dtype::BOOL,
                _ => return None,
            })),
            _ => None,
        }
    }
}

/// A pickle that was read to its end.
pub(super) struct Pickle<'a> {
    pub root: Value<'a>,
    /// Its bytes, the STOP included.
    pub length: usize,
    values: Values<'a>,
    storages: Vec<usize>,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that `bytes` begins with; `thing` names it in messages.
    ///
    /// Bad data where it ends early, holds an opcode or a global that no state dict needs, or has one
    /// act on a value that it cannot act on.
    pub fn read(bytes: &'a [u8], thing: &str) -> Result<Self> {
        Machine {
            thing,
            bytes,
            at: 0,
            opcode_at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            values: Values { sequences: Vec::new(), dicts: Vec::new() },
            storages: Vec::new(),
        }
        .run()
    }

    /// The items of a tuple, of a list, or of the tuple behind a storage or a tensor.
    pub fn items(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Tuple(id) | Value::List(id) | Value::Storage(id) | Value::Tensor(id) => {
                self.values.sequences.get(id).map(Vec::as_slice)
            }
            _ => None,
        }
    }

    /// Every storage that it speaks of, wherever it is used.
    pub fn storages(&self) -> impl Iterator<Item = Value<'a>> {
        self.storages.iter().map(|&id| Value::Storage(id))
    }

    /// The keys and values of a dict, in the order they were put in.
    pub fn pairs(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match value {
            Value::Dict(id) => self.values.dicts.get(id).map(Vec::as_slice),
            _ => None,
        }
    }
}

/// What the larger values hold.
struct Values<'a> {
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
}

impl<'a> Values<'a> {
    fn sequence(&mut self, items: Vec<Value<'a>>) -> usize {
        self.sequences.push(items);
        self.sequences.len() - 1
    }

    fn dict(&mut self) -> Value<'a> {
        self.dicts.push(Vec::new());
        Value::Dict(self.dicts.len() - 1)
    }
}

struct Machine<'a, 'b> {
    thing: &'b str,
    bytes: &'a [u8],
    at: usize,
    /// Where the opcode at work stands, for the messages.
    opcode_at: usize,
    stack: Vec<Value<'a>>,
    /// How high the stack was at each MARK.
    marks: Vec<usize>,
    /// A map, so that a large index takes no more room than a small one.
    memo: HashMap<u32, Value<'a>>,
    values: Values<'a>,
    storages: Vec<usize>,
}

impl<'a> Machine<'a, '_> {
    fn run(mut self) -> Result<Pickle<'a>> {
        loop {
            self.opcode_at = self.at;
            let [opcode] = self.array()?;
            match opcode {
                0x80 => match self.array()? {
                    [2] => {}
                    [other] => return Err(self.wrong("protocol 2", format!("protocol {other}"))),
                },
                b'.' => {
                    let root = self.pop()?;
                    if !(self.stack.is_empty() && self.marks.is_empty()) {
                        return Err(self.wrong("one value at the end", "several"));
                    }
                    let (length, values, storages) = (self.at, self.values, self.storages);
                    return Ok(Pickle { root, length, values, storages });
                }
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.stack.push(Value::None),
                0x88 => self.stack.push(Value::Bool(true)),
                0x89 => self.stack.push(Value::Bool(false)),
                b'K' => self.integer(1, false)?,
                b'M' => self.integer(2, false)?,
                b'J' => self.integer(4, true)?,
                0x8a => match self.array()? {
                    [width @ 1..=8] => self.integer(width.into(), true)?,
                    [width] => {
                        return Err(self.wrong("a long of 1 to 8 bytes", format!("one of {width}")));
                    }
                },
                b'G' => {
                    let number = f64::from_be_bytes(self.array()?);
                    self.stack.push(Value::Float(number));
                }
                b'X' => self.text()?,
                b')' => self.push_tuple(Vec::new()),
                0x85..=0x87 => {
                    let mut items = vec![Value::None; usize::from(opcode - 0x84)];
                    for item in items.iter_mut().rev() {
                        *item = self.pop()?;
                    }
                    self.push_tuple(items);
                }
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push_tuple(items);
                }
                b']' => {
                    let list = Value::List(self.values.sequence(Vec::new()));
                    self.stack.push(list);
                }
                b'a' => {
                    let item = self.pop()?;
                    self.list()?.push(item);
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.list()?.extend(items);
                }
                b'}' => {
                    let dict = self.values.dict();
                    self.stack.push(dict);
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.dict()?.push((key, value));
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    let (pairs, []) = items.as_chunks() else {
                        return Err(self.wrong("a value for every key", "a key without one"));
                    };
                    self.dict()?.extend(pairs.iter().map(|&[key, value]| (key, value)));
                }
                b'q' => {
                    let [index] = self.array()?;
                    self.remember(index.into())?;
                }
                b'r' => {
                    let index = u32::from_le_bytes(self.array()?);
                    self.remember(index)?;
                }
                b'h' => {
                    let [index] = self.array()?;
                    self.recall(index.into())?;
                }
                b'j' => {
                    let index = u32::from_le_bytes(self.array()?);
                    self.recall(index)?;
                }
                b'c' => self.global()?,
                b'Q' => match self.pop()? {
                    Value::Tuple(id) => {
                        self.storages.push(id);
                        self.stack.push(Value::Storage(id));
                    }
                    other => return Err(self.wrong("a tuple for a storage", other.kind())),
                },
                b'R' => self.reduce()?,
                b'b' => self.build()?,
                other => {
                    let found = format!("the opcode {} (0x{other:02x})", opcode_name(other));
                    return Err(self.wrong("opcodes that a state dict needs", found));
                }
            }
        }
    }

    fn wrong(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::bad_data(format!("{}, byte {}", self.thing, self.opcode_at), expected, found)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| {
            self.wrong(format!("{length} more bytes"), format!("{} (truncated)", rest.len()))
        })?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Pushes the little-endian integer of `width` bytes, 1 to 8, that follows.
    fn integer(&mut self, width: usize, signed: bool) -> Result<()> {
        let taken = self.take(width)?;
        let negative = signed && taken.last().is_some_and(|&byte| byte & 0x80 != 0);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        bytes[..width].copy_from_slice(taken);
        self.stack.push(Value::Int(i64::from_le_bytes(bytes)));
        Ok(())
    }

    fn text(&mut self) -> Result<()> {
        let length = u32::from_le_bytes(self.array()?);
        let text = str::from_utf8(self.take(length as usize)?)
            .map_err(|error| self.wrong("text in UTF-8", error.to_string()).because(error))?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn push_tuple(&mut self, items: Vec<Value<'a>>) {
        let tuple = Value::Tuple(self.values.sequence(items));
        self.stack.push(tuple);
    }

    /// The topmost value, if one was pushed since the last MARK.
    fn top(&self) -> Result<Value<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&value) if self.stack.len() > floor => Ok(value),
            _ => Err(self.wrong("a value on the stack", "none")),
        }
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.wrong("a MARK on the stack", "none")),
        }
    }

    fn list(&mut self) -> Result<&mut Vec<Value<'a>>> {
        match self.top()? {
            Value::List(id) => Ok(&mut self.values.sequences[id]),
            other => Err(self.wrong("a list to append to", other.kind())),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Value<'a>, Value<'a>)>> {
        match self.top()? {
            Value::Dict(id) => Ok(&mut self.values.dicts[id]),
            other => Err(self.wrong("a dict to put items into", other.kind())),
        }
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        let value = self.top()?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        let value = self.memo.get(&index).copied();
        let value = value.ok_or_else(|| self.wrong(format!("memo {index}"), "none"))?;
        self.stack.push(value);
        Ok(())
    }

    /// Two lines: a module and a name in it.
    fn global(&mut self) -> Result<()> {
        let [module, name] = [self.line()?, self.line()?];
        let global = Global::of(module, name).ok_or_else(|| {
            let found = format!("the global {}", short(&format!("{module}.{name}")));
            self.wrong("only what a state dict needs (nothing was executed)", found)
        })?;
        self.stack.push(Value::Global(global));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| self.wrong("a name's end", "none (truncated)"))?;
        let line = self.take(length + 1)?;
        str::from_utf8(&line[..length])
            .map_err(|error| self.wrong("a name in UTF-8", error.to_string()).because(error))
    }

    /// A call, of which only the known ones have a meaning here.
    fn reduce(&mut self) -> Result<()> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let (Value::Global(global), Value::Tuple(id)) = (function, arguments) else {
            let found = format!("{} and {}", function.kind(), arguments.kind());
            return Err(self.wrong("a function and a tuple of arguments", found));
        };
        let made = match (global, &*self.values.sequences[id]) {
            (Global::OrderedDict, []) => self.values.dict(),
            (Global::RebuildTensor, _) => Value::Tensor(id),
            (Global::RebuildParameter, &[data @ Value::Tensor(_), _, _]) => data,
            (global, arguments) => {
                let found = format!("{} arguments for {global:?}", arguments.len());
                return Err(self.wrong("a call that torch.save writes", found));
            }
        };
        self.stack.push(made);
        Ok(())
    }

    /// A state dict's attributes (`_metadata`: versions of its modules). They hold no weights.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        match (self.top()?, state) {
            (Value::Dict(_), Value::Dict(_)) => Ok(()),
            (object, state) => {
                let found = format!("{} for {}", state.kind(), object.kind());
                Err(self.wrong("a dict of attributes for a dict", found))
            }
        }
    }
}

/// A stranger's text for a message: quoted, escaped and cut.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What `pickletools.py` calls the opcodes that are refused.
fn opcode_name(opcode: u8) -> &'static str {
    match opcode {
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'B' => "BINBYTES",
        b'C' => "SHORT_BINBYTES",
        b'F' => "FLOAT",
        b'I' => "INT",
        b'L' => "LONG",
        b'P' => "PERSID",
        b'S' => "STRING",
        b'T' => "BINSTRING",
        b'U' => "SHORT_BINSTRING",
        b'V' => "UNICODE",
        b'd' => "DICT",
        b'g' => "GET",
        b'i' => "INST",
        b'l' => "LIST",
        b'o' => "OBJ",
        b'p' => "PUT",
        0x81 => "NEWOBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x8b => "LONG4",
        0x8c => "SHORT_BINUNICODE",
        0x8d => "BINUNICODE8",
        0x8e => "BINBYTES8",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        0x92 => "NEWOBJ_EX",
        0x93 => "STACK_GLOBAL",
        0x94 => "MEMOIZE",
        0x95 => "FRAME",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => "of no pickle",
    }
}
