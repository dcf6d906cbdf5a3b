//! A file becomes documents: a CSV by its columns, a plain text by its blank lines.

use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// One text that begins and ends: a poem, a tale. `text` is never blank, has no byte order mark,
/// ends its lines in LF, and neither begins nor ends with an empty line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Empty where the source does not say.
    pub author: String,
    /// Empty where the source does not say.
    pub title: String,
    pub text: String,
}

/// The corpus inside the binary (`corpus/coplas.csv`).
pub fn embedded() -> Result<Vec<Document>> {
    from_csv("the embedded corpus", include_str!("corpus/coplas.csv"))
}

/// The documents of a UTF-8 file.
///
/// A `.csv` has a header; the column `content` is required, `author` and `title` are read where
/// they are, and a row whose content is blank is no document. Anything else is plain text, cut at
/// the widest break that gives at least two documents: two or more blank lines, else one blank
/// line, else not at all.
///
/// Bad data: no such file, a directory, not UTF-8 (naming the byte), a broken row (naming it), a
/// missing column, nothing but blanks.
pub fn read_documents(path: impl AsRef<Path>) -> Result<Vec<Document>> {
    let path = path.as_ref();
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(Error::bad_data(name, "a file of text", "a directory"));
    }
    let bytes =
        std::fs::read(path).map_err(|error| Error::io(path, "a readable file of text", error))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let at = error.valid_up_to();
        let found = format!("0x{:02x} at byte {at}", bytes[at]);
        Error::bad_data(&name, "UTF-8 text", found).because(error)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Error::bad_data(name, "some text", "an empty or blank file"));
    }
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if is_csv { from_csv(&name, text) } else { Ok(from_plain_text(text)) }
}

/// Follows a CSV while it is read. A quote left open swallows the rest of a file without a
/// complaint from the parser; it then swallows this row too.
const LAST_ROW: &str = "\u{1}";

fn from_csv(name: &str, text: &str) -> Result<Vec<Document>> {
    let end = format!("\n{LAST_ROW}\n");
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes().chain(end.as_bytes()));
    let header = reader.headers().map_err(|error| unreadable(name, error))?.clone();
    let column =
        |wanted: &str| header.iter().position(|column| column.trim().eq_ignore_ascii_case(wanted));
    let content = column("content").ok_or_else(|| {
        let columns = header.iter().map(|column| format!("{:?}", column.trim()));
        let columns = columns.collect::<Vec<_>>().join(", ");
        Error::bad_data(name, "a column \"content\"", format!("the columns {columns}"))
    })?;
    let (author, title) = (column("author"), column("title"));

    let mut documents = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|error| unreadable(name, error))?;
        let line = record.position().map_or(0, |position| position.line());
        let broken = |expected: String, found: String| {
            Error::bad_data(format!("{name}, row {} (line {line})", row + 1), expected, found)
        };
        if record.iter().eq([LAST_ROW]) {
            break;
        }
        if record.iter().next_back().is_some_and(|field| field.ends_with(end.as_str())) {
            return Err(broken("a closing quote".into(), "the end of the file".into()));
        }
        if record.len() != header.len() {
            let expected = format!("{} fields", header.len());
            return Err(broken(expected, record.len().to_string()));
        }
        let named = |column: Option<usize>| column.map_or("", |i| record[i].trim()).to_string();
        if let Some(text) = tidy(&record[content]) {
            documents.push(Document { author: named(author), title: named(title), text });
        }
    }
    if documents.is_empty() {
        return Err(Error::bad_data(name, "a row whose content is not blank", "none"));
    }
    Ok(documents)
}

fn unreadable(name: &str, error: csv::Error) -> Error {
    Error::bad_data(name, "a readable CSV", error.to_string()).because(error)
}

fn from_plain_text(text: &str) -> Vec<Document> {
    // Each line with the number of blank lines right before it.
    let mut lines: Vec<(usize, &str)> = Vec::new();
    let mut blanks = 0;
    for line in text.lines() {
        if line.trim().is_empty() {
            blanks += 1;
        } else {
            lines.push((blanks, line));
            blanks = 0;
        }
    }
    // Blank lines before the first line are no break.
    let widest = lines.iter().skip(1).map(|&(blanks, _)| blanks).max().unwrap_or(0).min(2);
    let mut texts: Vec<String> = Vec::new();
    for (blanks, line) in lines {
        match texts.last_mut() {
            Some(text) if widest == 0 || blanks < widest => {
                text.push_str(&"\n".repeat(blanks + 1));
                text.push_str(line);
            }
            _ => texts.push(line.to_string()),
        }
    }
    let document = |text: String| {
        let (author, title) = (String::new(), String::new());
        tidy(&text).map(|text| Document { author, title, text })
    };
    texts.into_iter().filter_map(document).collect()
}

/// Lines end in LF, none is empty at either end; `None` for a blank text.
fn tidy(text: &str) -> Option<String> {
    let text = text.replace("\r\n", "\n");
    let end = text.trim_end().len();
    let start = text[..end].find(|c: char| !c.is_whitespace())?;
    // The first line keeps its indentation.
    let start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    Some(text[start..end].to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Document>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_documents(path)
    }

    fn texts(name: &str, bytes: impl AsRef<[u8]>) -> Vec<String> {
        read(name, bytes).unwrap().into_iter().map(|document| document.text).collect()
    }

    fn refused(name: &str, bytes: impl AsRef<[u8]>) -> String {
        let error = read(name, bytes).unwrap_err();
        assert_eq!(error.kind(), Kind::BadData);
        error.to_string()
    }

    #[test]
    fn the_embedded_corpus_has_documents() {
        let documents = embedded().unwrap();
        assert!(documents.len() >= 3);
        assert!(documents.iter().all(|document| !document.text.trim().is_empty()));
        assert!(documents.iter().all(|document| !document.text.contains('\r')));
    }

    #[test]
    fn a_csv_is_read_by_the_names_of_its_columns() {
        let csv = "\u{feff}title, Content ,n,author\r\n\
            Uno,\"  verso, \"\"uno\"\"\r\nverso dos\n\",1, Ana \r\n\
            \r\n\
            Dos,\"  \",2,Luis\r\n\
            Tres,ñandú,3,";
        let document = |author: &str, title: &str, text: &str| Document {
            author: author.into(),
            title: title.into(),
            text: text.into(),
        };
        let expected =
            [document("Ana", "Uno", "  verso, \"uno\"\nverso dos"), document("", "Tres", "ñandú")];
        assert_eq!(read("a.CSV", csv).unwrap(), expected);
        assert_eq!(texts("b.csv", "content\nuno\n\"dos\"\n"), ["uno", "dos"]);
    }

    #[test]
    fn a_broken_csv_says_where() {
        let message = refused("a.csv", "author,text\nx,y\n");
        assert!(message.contains("\"content\"") && message.contains("\"author\", \"text\""));
        let message = refused("a.csv", "author,content\nAna,\"a\nb\"\nLuis\n");
        assert!(message.contains("row 2 (line 4): expected 2 fields, found 1"), "{message}");
        for open in ["author,content\nAna,\"a\n", "author,content\nAna,\"a\nLuis,b", "content\n\"a"]
        {
            let message = refused("a.csv", open);
            assert!(message.contains("row 1 (line 2): expected a closing quote"), "{message}");
        }
        let message = refused("a.csv", "author,content\nAna,  \n");
        assert!(message.contains("content is not blank"), "{message}");
        assert!(refused("a.csv", "author,content\n").contains("found none"));
    }

    #[test]
    fn a_plain_text_is_cut_at_its_widest_breaks() {
        assert_eq!(texts("a.txt", "\u{feff}\n\n\nuno\r\ndos\r\n\n\n\n"), ["uno\ndos"]);
        assert_eq!(texts("a.txt", "uno\ndos\n \t\n  tres\n"), ["uno\ndos", "  tres"]);
        assert_eq!(texts("a.txt", "uno\n\ndos\n\n\n\ntres\n\n\n"), ["uno\n\ndos", "tres"]);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let message = refused("a.txt", b"ma\xc3\xb1ana \xf1 x");
        assert!(message.contains("expected UTF-8 text, found 0xf1 at byte 8"), "{message}");
        assert!(refused("a.csv", b"content\n\xff").contains("0xff at byte 8"));
        assert!(refused("a.txt", "").contains("empty or blank"));
        assert!(refused("a.csv", "\u{feff} \r\n\t\n").contains("empty or blank"));
        let error = read_documents("/nowhere/poems.txt").unwrap_err();
        assert_eq!(error.kind(), Kind::BadData);
        assert!(error.to_string().contains("no such file"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let error = read_documents(dir.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::BadData);
        assert!(error.to_string().contains("a directory"), "{error}");
    }
}
