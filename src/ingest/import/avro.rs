//! Object container files of Avro: as much of them as records of events are made of.
//!
//! Source: Apache Avro 1.12, "Specification" (binary encoding, object container files, codecs null, deflate and snappy). The
//! crate `apache-avro` would read them too; it unpacks blocks and makes arrays of any size that a file asks for, and here
//! everything from outside is bounded. Logical types are left alone: what they are made of is what decoders read.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read},
};

use serde_json::{Map, Number, Value};

use super::Position;

/// What a file begins with.
pub(super) const MAGIC: [u8; 4] = *b"Obj\x01";
/// The largest block, packed and unpacked.
const MAX_BLOCK: usize = 64 * 1024 * 1024;
/// The largest entry of the header; schemas have a few KiB.
const MAX_META: usize = 4 * 1024 * 1024;
/// How deep schemas and values may nest.
const MAX_DEPTH: u32 = 32;
/// Values that one datum may hold.
const MAX_VALUES: u32 = 100_000;

/// A schema, as far as it matters how it is written.
#[derive(Debug, Clone)]
enum Schema {
    Null,
    Boolean,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Array(Box<Schema>),
    Map(Box<Schema>),
    Union(Vec<Schema>),
    Record(Vec<(String, Schema)>),
    Named(String),
}

/// A file.
pub(super) struct Container {
    input: Counted,
    schema: Schema,
    names: HashMap<String, Schema>,
    /// The name of the records, with its namespace.
    name: Option<String>,
    codec: Codec,
    sync: [u8; 16],
    block: Vec<u8>,
    at: usize,
    left: u64,
    done: Position,
}

#[derive(Debug, Clone, Copy)]
enum Codec {
    Null,
    Deflate,
    Snappy,
}

/// Counts what is read.
struct Counted {
    inner: BufReader<Box<dyn Read + Send>>,
    offset: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

const CUT: &str = "the Avro file is cut off";
const BROKEN: &str = "the Avro file is broken";

impl Container {
    /// Reads the header, which the file begins with, and goes on at `from`.
    pub(super) fn new(input: Box<dyn Read + Send>, from: Position) -> io::Result<Self> {
        let mut input = Counted { inner: BufReader::with_capacity(64 * 1024, input), offset: 0 };
        let mut magic = [0; 4];
        exact(&mut input, &mut magic)?;
        if magic != MAGIC {
            return Err(invalid("this is no Avro file"));
        }
        let mut meta: HashMap<String, Vec<u8>> = HashMap::new();
        loop {
            let count = long(&mut input)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                long(&mut input)?;
            }
            if count.unsigned_abs() > 1_000 {
                return Err(invalid(BROKEN));
            }
            for _ in 0..count.unsigned_abs() {
                let name = bytes(&mut input, MAX_META)?;
                let value = bytes(&mut input, MAX_META)?;
                meta.insert(String::from_utf8_lossy(&name).into_owned(), value);
            }
        }
        let codec = match meta.get("avro.codec").map(Vec::as_slice) {
            None | Some(b"null" | b"") => Codec::Null,
            Some(b"deflate") => Codec::Deflate,
            Some(b"snappy") => Codec::Snappy,
            Some(_) => return Err(invalid("the Avro file is packed by another codec than null, deflate or snappy")),
        };
        let json = meta.get("avro.schema").ok_or_else(|| invalid("the Avro file has no schema"))?;
        let json: Value =
            serde_json::from_slice(json).map_err(|_| invalid("the schema of the Avro file is no JSON"))?;
        let mut names = HashMap::new();
        let schema = parse(&json, "", &mut names, 0).ok_or_else(|| invalid("the schema of the Avro file is none"))?;
        let name = full_name(&json, "");
        let mut sync = [0; 16];
        exact(&mut input, &mut sync)?;
        let done = Position { offset: input.offset, ..Position::default() };
        let mut file = Self { input, schema, names, name, codec, sync, block: Vec::new(), at: 0, left: 0, done };
        if from.offset > file.input.offset {
            let skip = from.offset - file.input.offset;
            if io::copy(&mut (&mut file.input).take(skip), &mut io::sink())? < skip {
                return Err(invalid("the file is shorter than it was"));
            }
        }
        file.done =
            Position { offset: file.input.offset, records: from.records - from.within.min(from.records), ..from };
        file.done.within = 0;
        for _ in 0..from.within {
            if file.next()?.is_none() {
                break;
            }
        }
        Ok(file)
    }

    /// The name of the records, with its namespace.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Up to where everything was given out: a block, and data within it.
    pub(super) const fn position(&self) -> Position {
        self.done
    }

    /// The next datum, as JSON.
    ///
    /// # Errors
    /// Where the file is broken: what comes after can't be found.
    pub(super) fn next(&mut self) -> io::Result<Option<Value>> {
        while self.left == 0 {
            if self.at < self.block.len() {
                return Err(invalid(BROKEN));
            }
            if self.input.inner.fill_buf()?.is_empty() {
                return Ok(None);
            }
            self.read_block()?;
        }
        let mut values = 0;
        let mut rest = self.block.get(self.at..).unwrap_or_default();
        let before = rest.len();
        let value = self.datum(&self.schema, &mut rest, 0, &mut values)?;
        self.at += before - rest.len();
        self.left -= 1;
        self.done.records += 1;
        if self.left == 0 {
            self.done = Position { offset: self.input.offset, within: 0, ..self.done };
        } else {
            self.done.within += 1;
        }
        Ok(Some(value))
    }

    fn read_block(&mut self) -> io::Result<()> {
        let (offset, count) = (self.input.offset, long(&mut self.input)?);
        let packed = bytes(&mut self.input, MAX_BLOCK)?;
        let mut sync = [0; 16];
        exact(&mut self.input, &mut sync)?;
        // A datum without bytes tells nothing, so that a block has no more of them than bytes.
        self.left = u64::try_from(count).map_err(|_| invalid(BROKEN))?;
        if sync != self.sync {
            return Err(invalid(BROKEN));
        }
        self.block = match self.codec {
            Codec::Null => packed,
            Codec::Deflate => {
                let mut out = Vec::new();
                let most = MAX_BLOCK as u64 + 1;
                flate2::read::DeflateDecoder::new(packed.as_slice())
                    .take(most)
                    .read_to_end(&mut out)
                    .map_err(|_| invalid(BROKEN))?;
                out
            }
            Codec::Snappy => {
                // The checksum of what is unpacked stands at the end (CRC-32, big endian).
                let (body, sum) = packed.split_last_chunk::<4>().ok_or_else(|| invalid(BROKEN))?;
                let length = snap::raw::decompress_len(body).map_err(|_| invalid(BROKEN))?;
                if length > MAX_BLOCK {
                    return Err(invalid("a block of the Avro file is larger than 64 MiB"));
                }
                let out = snap::raw::Decoder::new().decompress_vec(body).map_err(|_| invalid(BROKEN))?;
                let mut crc = flate2::Crc::new();
                crc.update(&out);
                if crc.sum().to_be_bytes() != *sum {
                    return Err(invalid(BROKEN));
                }
                out
            }
        };
        if self.block.len() > MAX_BLOCK {
            return Err(invalid("a block of the Avro file is larger than 64 MiB"));
        }
        if self.left > self.block.len() as u64 {
            return Err(invalid(BROKEN));
        }
        self.at = 0;
        self.done = Position { offset, within: 0, ..self.done };
        Ok(())
    }

    fn datum(&self, schema: &Schema, rest: &mut &[u8], depth: u32, values: &mut u32) -> io::Result<Value> {
        *values += 1;
        if depth > MAX_DEPTH || *values > MAX_VALUES {
            return Err(invalid("a record of the Avro file is nested too deep, or holds too much"));
        }
        Ok(match schema {
            Schema::Null => Value::Null,
            Schema::Boolean => {
                let mut byte = [0];
                exact(rest, &mut byte)?;
                Value::Bool(byte[0] != 0)
            }
            Schema::Long => Value::from(long(rest)?),
            Schema::Float => {
                let mut bytes = [0; 4];
                exact(rest, &mut bytes)?;
                Number::from_f64(f64::from(f32::from_le_bytes(bytes))).map_or(Value::Null, Value::Number)
            }
            Schema::Double => {
                let mut bytes = [0; 8];
                exact(rest, &mut bytes)?;
                Number::from_f64(f64::from_le_bytes(bytes)).map_or(Value::Null, Value::Number)
            }
            // No field that matters is of bytes.
            Schema::Bytes => {
                bytes(rest, MAX_BLOCK)?;
                Value::Null
            }
            Schema::Fixed(length) => {
                *rest = rest.get(*length..).ok_or_else(|| invalid(BROKEN))?;
                Value::Null
            }
            Schema::Text => {
                let text = String::from_utf8(bytes(rest, MAX_BLOCK)?);
                Value::String(text.map_err(|_| invalid("a text of the Avro file is not UTF-8"))?)
            }
            Schema::Enum(symbols) => {
                let symbol = usize::try_from(long(rest)?).ok().and_then(|at| symbols.get(at));
                Value::from(symbol.ok_or_else(|| invalid(BROKEN))?.as_str())
            }
            Schema::Union(branches) => {
                let branch = usize::try_from(long(rest)?).ok().and_then(|at| branches.get(at));
                self.datum(branch.ok_or_else(|| invalid(BROKEN))?, rest, depth + 1, values)?
            }
            Schema::Array(items) => {
                let mut list = Vec::new();
                blocks(
                    rest,
                    |rest, values_of| {
                        list.push(self.datum(items, rest, depth + 1, values_of)?);
                        Ok(())
                    },
                    values,
                )?;
                Value::Array(list)
            }
            Schema::Map(items) => {
                let mut map = Map::new();
                blocks(
                    rest,
                    |rest, values_of| {
                        let key = String::from_utf8_lossy(&bytes(rest, MAX_META)?).into_owned();
                        map.insert(key, self.datum(items, rest, depth + 1, values_of)?);
                        Ok(())
                    },
                    values,
                )?;
                Value::Object(map)
            }
            Schema::Record(fields) => {
                let mut object = Map::new();
                for (name, schema) in fields {
                    let value = self.datum(schema, rest, depth + 1, values)?;
                    if !value.is_null() {
                        object.insert(name.clone(), value);
                    }
                }
                Value::Object(object)
            }
            Schema::Named(name) => {
                let schema = self.names.get(name).ok_or_else(|| invalid(BROKEN))?;
                self.datum(schema, rest, depth + 1, values)?
            }
        })
    }
}

/// Reads the blocks of an array or a map, item by item.
fn blocks(
    rest: &mut &[u8],
    mut item: impl FnMut(&mut &[u8], &mut u32) -> io::Result<()>,
    values: &mut u32,
) -> io::Result<()> {
    loop {
        let count = long(rest)?;
        if count == 0 {
            return Ok(());
        }
        if count < 0 {
            long(rest)?;
        }
        for _ in 0..count.unsigned_abs() {
            item(rest, values)?;
        }
    }
}

fn exact(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<()> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid(CUT),
        _ => error,
    })
}

/// A number of variable length, zig-zag.
fn long(input: &mut impl Read) -> io::Result<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        exact(input, &mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(invalid(BROKEN))
}

/// Bytes after their length. What is not there is not made room for.
fn bytes(input: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(long(input)?).ok().filter(|length| *length <= most);
    let length = length.ok_or_else(|| invalid(BROKEN))?;
    let mut out = Vec::new();
    input.take(length as u64).read_to_end(&mut out)?;
    if out.len() < length { Err(invalid(CUT)) } else { Ok(out) }
}

/// The name of a named type, with its namespace.
fn full_name(json: &Value, namespace: &str) -> Option<String> {
    let name = json.get("name")?.as_str()?;
    let namespace = json.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
    Some(if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") })
}

fn parse(json: &Value, namespace: &str, names: &mut HashMap<String, Schema>, depth: u32) -> Option<Schema> {
    if depth > MAX_DEPTH {
        return None;
    }
    let word = match json {
        Value::String(word) => word.as_str(),
        Value::Array(branches) => {
            let branches = branches.iter().map(|branch| parse(branch, namespace, names, depth + 1));
            return branches.collect::<Option<Vec<_>>>().map(Schema::Union);
        }
        Value::Object(object) => match object.get("type")? {
            Value::String(word) => word.as_str(),
            nested => return parse(nested, namespace, names, depth + 1),
        },
        _ => return None,
    };
    let made = match word {
        "null" => Schema::Null,
        "boolean" => Schema::Boolean,
        "int" | "long" => Schema::Long,
        "float" => Schema::Float,
        "double" => Schema::Double,
        "bytes" => Schema::Bytes,
        "string" => Schema::Text,
        "array" => Schema::Array(Box::new(parse(json.get("items")?, namespace, names, depth + 1)?)),
        "map" => Schema::Map(Box::new(parse(json.get("values")?, namespace, names, depth + 1)?)),
        "fixed" => Schema::Fixed(usize::try_from(json.get("size")?.as_u64()?).ok()?),
        "enum" => {
            let symbols = json.get("symbols")?.as_array()?.iter().map(|symbol| symbol.as_str().map(str::to_owned));
            Schema::Enum(symbols.collect::<Option<_>>()?)
        }
        "record" | "error" => {
            let full = full_name(json, namespace)?;
            let inner = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
            let mut fields = Vec::new();
            for field in json.get("fields")?.as_array()? {
                let name = field.get("name")?.as_str()?.to_owned();
                fields.push((name, parse(field.get("type")?, &inner, names, depth + 1)?));
            }
            Schema::Record(fields)
        }
        name if namespace.is_empty() || name.contains('.') => return Some(Schema::Named(name.to_owned())),
        name => {
            let full = format!("{namespace}.{name}");
            return Some(Schema::Named(if names.contains_key(name) { name.to_owned() } else { full }));
        }
    };
    if matches!(made, Schema::Fixed(_) | Schema::Enum(_) | Schema::Record(_)) {
        names.insert(full_name(json, namespace)?, made.clone());
    }
    Some(made)
}
