//! Documents from the files that people have: CSV, JSON, Parquet and plain text, packed or not, in the
//! encodings that Spanish is written in.
//!
//! A file passes through `input` (its bytes, unpacked), `encoding` (UTF-8) and its format (`table`,
//! `json`, `plain`; Parquet, in `columnar`, has its own bytes and encoding) to `documents`, which tidies,
//! samples and counts. `source` says what was asked for, `files` which files that is, `report` what was
//! found. Whatever the size of a file, what is held at once is one document (of Parquet, a page for each
//! column asked for) and buffers of 64 KiB.

#[cfg(feature = "parquet")]
mod columnar;
mod documents;
mod encoding;
mod files;
mod input;
mod json;
mod plain;
mod record;
mod report;
mod source;
mod table;
mod tidy;

pub use documents::{Documents, Options, read};
pub use files::Format;
pub use plain::Cut;
pub use report::{Report, SourceReport};
pub use source::{Place, Source, Take};
