//! Parquet: of each group of rows only the columns that are wanted, a page at a time.

mod distrust;

use super::input::Input;
use super::record::{Fault, Opened, Record, Remarks, Wanted};
use crate::error::{Error, Result};
use distrust::{Pages, guarded};
use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use std::fs::File;
use std::sync::Arc;

/// Rows taken from a column at once.
const BATCH: usize = 64;

/// Reads the footer. Bad data: no Parquet or a truncated one, a column that is missing or holds no
/// texts.
pub(super) fn open(input: &Input, wanted: &Wanted, most: u64) -> Result<Opened> {
    let (file, name) = (input.file()?, input.name.clone());
    let file = guarded(|| SerializedFileReader::new(file))
        .map_err(|error| broken(&name, "footer", error))?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let names: Vec<&str> = schema.columns().iter().map(|column| outermost(column)).collect();
    let chosen = wanted.choose(&name, &names)?;
    let column = |at: usize| {
        let column = schema.column(at);
        let is_text =
            column.physical_type() == Type::BYTE_ARRAY && column.path().parts().len() == 1;
        match is_text && column.max_rep_level() == 0 {
            true => Ok(Place { at, is_nullable: column.max_def_level() > 0 }),
            false => {
                let found = match column.path().parts().len() {
                    1 => column.physical_type().to_string(),
                    _ => "a nested column".to_string(),
                };
                let expected = format!("texts in the column {:?}", names[at]);
                Err(Error::bad_data(&*name, expected, found))
            }
        }
    };
    let optional = |at: Option<usize>| at.map(column).transpose();
    let places = [Some(column(chosen.text)?), optional(chosen.author)?, optional(chosen.title)?];
    let remarks = Remarks { column: Some(names[chosen.text].to_string()), ..Remarks::default() };
    let rows = Rows { file, name, places, most, group: 0, columns: None, left: 0, row: 0 };
    Ok(Opened { records: Box::new(rows), remarks })
}

/// A nested column goes by the name of what it is in.
fn outermost(column: &ColumnDescriptor) -> &str {
    column.path().parts().first().map_or("", String::as_str)
}

fn broken(name: &Arc<str>, place: &str, error: ParquetError) -> Error {
    let (expected, found) = ("a whole Parquet file", error.to_string());
    Error::bad_data(format!("{name}, {place}"), expected, found).because(error)
}

/// Where a column of texts is.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    is_nullable: bool,
}

struct Rows {
    file: SerializedFileReader<File>,
    name: Arc<str>,
    /// Of the text, the author and the title.
    places: [Option<Place>; 3],
    most: u64,
    /// The next group of rows.
    group: usize,
    columns: Option<[Option<Column>; 3]>,
    /// Rows of the group that are still to be read.
    left: u64,
    row: u64,
}

impl Iterator for Rows {
    type Item = std::result::Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left == 0 {
            if self.group == self.file.num_row_groups() {
                return None;
            }
            if let Err(error) = guarded(|| self.next_group()) {
                let place = format!("row group {}", self.group);
                return Some(Err(Fault::File(broken(&self.name, &place, error))));
            }
        }
        self.left -= 1;
        self.row += 1;
        Some(self.record())
    }
}

impl Rows {
    fn next_group(&mut self) -> std::result::Result<(), ParquetError> {
        let group = self.file.get_row_group(self.group)?;
        let rows = group.metadata().num_rows();
        self.left = u64::try_from(rows)
            .map_err(|_| ParquetError::General(format!("a row group of {rows} rows")))?;
        let mut columns = [None, None, None];
        for (column, place) in columns.iter_mut().zip(self.places) {
            let Some(place) = place else { continue };
            let pages = Pages(group.get_column_page_reader(place.at)?);
            let description = group.metadata().column(place.at).column_descr_ptr();
            let reader = ColumnReaderImpl::new(description, Box::new(pages));
            let (levels, values) = (Vec::new(), Vec::new());
            *column = Some(Column { reader, place, levels, values, level: 0, value: 0 });
        }
        self.columns = Some(columns);
        self.group += 1;
        Ok(())
    }

    /// The next row. Every column goes on by one, whatever is wrong in another.
    fn record(&mut self) -> std::result::Result<Record, Fault> {
        let place = format!("row {}", self.row);
        let mut texts = [const { String::new() }; 3];
        let mut fault = None;
        for (text, column) in texts.iter_mut().zip(self.columns.iter_mut().flatten()) {
            let Some(column) = column else { continue };
            let value = column
                .next(self.left)
                .map_err(|error| Fault::File(broken(&self.name, &place, error)))?;
            let Some(value) = value else { continue };
            let wrong = |expected: String, found: &str| {
                Error::bad_data(format!("{}, {place}", self.name), expected, found)
            };
            if value.len() as u64 > self.most {
                let expected = format!("at most {} bytes to a document (max-bytes)", self.most);
                return Err(Fault::File(wrong(expected, "more")));
            }
            match value.as_utf8() {
                Ok(value) => *text = value.to_string(),
                Err(_) => fault = Some(Fault::Row(wrong("UTF-8 text".into(), "other bytes"))),
            }
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        let [text, author, title] = texts;
        let (author, title) = (author.trim().to_string(), title.trim().to_string());
        Ok(Record { author, title, text, row: self.row, origin: None })
    }
}

/// A column of one row group, a few rows ahead.
struct Column {
    reader: ColumnReaderImpl<ByteArrayType>,
    place: Place,
    /// For each row of the batch, 0 if it is null.
    levels: Vec<i16>,
    /// Of the rows that are not null.
    values: Vec<ByteArray>,
    /// The next of each.
    level: usize,
    value: usize,
}

impl Column {
    /// The text of the next row; `None` for null. `left` more rows follow in the group.
    fn next(&mut self, left: u64) -> std::result::Result<Option<&ByteArray>, ParquetError> {
        let read = if self.place.is_nullable { self.levels.len() } else { self.values.len() };
        if self.level == read {
            (self.level, self.value) = (0, 0);
            self.levels.clear();
            self.values.clear();
            let most = BATCH.min(left.saturating_add(1) as usize);
            let levels = self.place.is_nullable.then_some(&mut self.levels);
            let (reader, values) = (&mut self.reader, &mut self.values);
            let (rows, ..) = guarded(|| reader.read_records(most, levels, None, values))?;
            if rows == 0 {
                return Err(ParquetError::EOF("fewer rows than the group has".to_string()));
            }
        }
        let is_null = self.place.is_nullable && self.levels.get(self.level) == Some(&0);
        self.level += 1;
        if is_null {
            return Ok(None);
        }
        self.value += 1;
        let value = self.values.get(self.value - 1);
        value.map(Some).ok_or_else(|| ParquetError::EOF("fewer texts than rows".to_string()))
    }
}
