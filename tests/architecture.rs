//! The house stands as `src/lib.rs` describes it: a floor imports only floors below it, and every
//! file keeps the rules of the house.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// From the ground up. A floor imports itself and the floors below it; the rooms of one floor do not
/// import each other, except on the ground.
const FLOORS: [&[&str]; 13] = [
    &["error", "dtype", "shape", "random"],
    &["formats", "report"],
    &["text"],
    &["cpu", "cuda"],
    &["tensor"],
    &["ops"],
    &["nn"],
    &["models"],
    &["inspect", "generate", "evaluate"],
    &["train"],
    &["compare", "bench", "doctor", "info", "serve"],
    &["cli"],
    &["main"],
];
const MOST_LINES: usize = 600;

#[test]
fn a_floor_imports_only_floors_below_it() {
    check(|file| imports_from_above(file, &reexports()));
}

#[test]
fn every_operation_has_a_cuda_side() {
    let mut folders = 0;
    for entry in std::fs::read_dir(source().join("ops")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("cpu.rs").is_file() {
            continue;
        }
        folders += 1;
        assert!(folder.join("cuda.rs").is_file(), "{folder:?} has a cpu.rs and no cuda.rs");
        // That no arm of a match is missing is the compiler's to say; that none is empty, ours.
        let text = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
        let empty = text.lines().find(|line| {
            line.trim_start().starts_with("Device::Cuda(_)")
                && !line.contains("cuda::")
                && !line.ends_with('{')
        });
        assert_eq!(empty, None, "{folder:?}");
    }
    assert!(folders > 15, "only {folders} operations found");
    // A file of kernels that is not in the manifest would be compiled by nobody.
    let listed: BTreeSet<String> =
        copla::cuda::MODULES.iter().map(|module| format!("{}.cu", module.name)).collect();
    let there: BTreeSet<String> = std::fs::read_dir(source().with_file_name("kernels"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".cu"))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn bad_input_never_panics_by_an_unwrap() {
    check(unwraps);
}

#[test]
fn every_unsafe_argues() {
    check(silent_unsafe);
}

#[test]
fn only_tensor_and_ops_match_on_a_device() {
    check(device_matches);
}

#[test]
fn only_cpu_knows_the_processor() {
    check(intrinsics);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    check(introduction_and_length);
}

/// A file of `src/`, as its rules see it.
struct File {
    /// Below `src/`, with slashes: `ops/layer_norm/cpu.rs`.
    path: String,
    text: String,
    /// The text with comments, literals and test code blanked, line for line and byte for byte.
    code: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let code = without_tests(&without_comments_and_literals(text));
        File { path: path.into(), text: text.into(), code }
    }

    /// Where the module stands in the crate: `["ops", "layer_norm", "cpu"]`.
    fn module(&self) -> Vec<&str> {
        let mut parts: Vec<&str> = self.path.trim_end_matches(".rs").split('/').collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        parts
    }

    fn room(&self) -> &str {
        self.module()[0]
    }

    fn complaint(&self, at: usize, what: &str) -> String {
        let line = self.code[..at].matches('\n').count() + 1;
        format!("src/{}:{line}: {what}", self.path)
    }
}

/// Every file of the crate that is no test, against one rule.
fn check(rule: impl Fn(&File) -> Vec<String>) {
    let files = files();
    assert!(files.len() > 40, "only {} files found", files.len());
    let complaints: Vec<String> = files.iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files() -> Vec<File> {
    let mut paths = Vec::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let tests: BTreeSet<PathBuf> = paths.iter().flat_map(|path| test_files(path)).collect();
    let named = |path: &PathBuf| {
        let below = path.strip_prefix(source()).unwrap().to_str().unwrap();
        File::new(below, &std::fs::read_to_string(path).unwrap())
    };
    paths.iter().filter(|path| !tests.contains(*path)).map(named).collect()
}

/// The files that `#[cfg(test)] mod name;` stands for.
fn test_files(path: &Path) -> Vec<PathBuf> {
    let code = without_comments_and_literals(&std::fs::read_to_string(path).unwrap());
    let folder = match path.file_name().unwrap().to_str().unwrap() {
        "mod.rs" | "lib.rs" | "main.rs" => path.parent().unwrap().to_path_buf(),
        _ => path.with_extension(""),
    };
    test_items(&code)
        .into_iter()
        .filter_map(|item| code[item].split("mod ").nth(1)?.strip_suffix(';').map(str::to_string))
        .map(|name| folder.join(format!("{}.rs", name.trim())))
        .collect()
}

/// What `lib.rs` re-exports at the root: name → room.
fn reexports() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let mut names = BTreeMap::new();
    for line in text.split(';').filter_map(|item| item.trim().strip_prefix("pub use ")) {
        let (room, rest) = line.split_once("::").unwrap();
        for name in rest.trim_matches(['{', '}']).split(',') {
            names.insert(name.trim().to_string(), room.to_string());
        }
    }
    assert_eq!(names["Tensor"], "tensor");
    names
}

fn imports_from_above(file: &File, reexports: &BTreeMap<String, String>) -> Vec<String> {
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    let room = file.room();
    if room == "lib" {
        return Vec::new();
    }
    let Some(own) = floor(room) else {
        return vec![file.complaint(0, "expected a room of FLOORS, found another")];
    };
    let mut complaints = Vec::new();
    for (at, name) in roots(&file.code) {
        let imported = reexports.get(&name).unwrap_or(&name);
        let fine = match floor(imported) {
            Some(theirs) => theirs < own || imported == room || (theirs, own) == (0, 0),
            None => false,
        };
        if !fine {
            complaints.push(file.complaint(at, &format!("`{room}` imports `{imported}`")));
        }
    }
    // `super` may not leave the room by the back door.
    for (at, _) in file.code.match_indices("super::") {
        let chain = file.code[at..].split("::").take_while(|part| *part == "super").count();
        if chain >= file.module().len() {
            complaints.push(file.complaint(at, "`super` leaves the room"));
        }
    }
    complaints
}

/// The first names of all paths from the crate's root, with where they stand: of `crate::a::b`, of
/// `crate::{a::b, c}`, and of the binary's `copla::a`.
fn roots(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let starts = ["crate::", "copla::"].iter().flat_map(|root| code.match_indices(root));
    for (at, root) in starts {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + root.len()..];
        let group = match rest.starts_with('{') {
            true => &rest[1..matching(rest, 0).end - 1],
            false => rest,
        };
        let mut depth = 0;
        let mut begins = true;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && (c.is_alphanumeric() || c == '_') => {
                    let name: String = group[i..]
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    found.push((at, name));
                    begins = false;
                }
                _ => {}
            }
            if !rest.starts_with('{') && !begins {
                break;
            }
        }
    }
    found
}

fn unwraps(file: &File) -> Vec<String> {
    let words = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "dbg!("];
    let hits = words.iter().flat_map(|word| file.code.match_indices(word));
    hits.map(|(at, word)| file.complaint(at, &format!("`{word}` outside tests"))).collect()
}

/// An `unsafe` block or implementation without `SAFETY`, a public function without `# Safety`, in the
/// comments right above it or above its statement. A private `unsafe fn` is argued for in the blocks
/// that call it, a method by its trait.
fn silent_unsafe(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut complaints = Vec::new();
    for (at, word) in file.code.match_indices("unsafe") {
        let before = &file.code[..at];
        let rest = file.code[at + word.len()..].trim_start();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let public = before[line_start..].trim_start().starts_with("pub");
        let must_argue = rest.starts_with('{')
            || rest.starts_with("impl")
            || public && ["fn ", "trait "].iter().any(|word| rest.starts_with(word));
        let line = before.matches('\n').count();
        if must_argue && !is_word(file.code.as_bytes(), at) && !argued(&lines, line) {
            complaints.push(file.complaint(at, "`unsafe` without SAFETY"));
        }
    }
    complaints
}

fn argued(lines: &[&str], line: usize) -> bool {
    let says =
        |line: &str| ["SAFETY:", "SAFETY (", "# Safety"].iter().any(|word| line.contains(word));
    if says(lines[line]) {
        return true;
    }
    let above = || lines[..line].iter().rev();
    for line in above().map(|line| line.trim()) {
        if says(line) {
            return true;
        }
        // Where the statement before this one ends, so does what belongs to it.
        let beside_code = line.starts_with("//") || line.starts_with("#[");
        if line.is_empty() || !beside_code && line.ends_with([';', '}']) {
            break;
        }
    }
    // One argument for all methods of an implementation.
    above()
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .any(|line| line.contains("SAFETY (here and below)"))
}

fn device_matches(file: &File) -> Vec<String> {
    if ["tensor", "ops"].contains(&file.room()) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (at, _) in file.code.match_indices("Device::") {
        let line_start = file.code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = &file.code[line_start..at];
        let after = file.code[at..].lines().next().unwrap_or_default();
        let compared = [" == ", " != ", "let ", "matches!("].iter().any(|by| before.ends_with(by));
        let pattern = after.contains("=>") && !before.contains("=>");
        if compared || pattern {
            complaints.push(file.complaint(at, "only `tensor` and `ops` match on a device"));
        }
    }
    complaints
}

fn intrinsics(file: &File) -> Vec<String> {
    let words =
        ["std::arch", "core::arch", "asm!(", "_feature_detected!", "target_feature", "target_arch"];
    if file.room() == "cpu" {
        return Vec::new();
    }
    let hits = words.iter().flat_map(|word| file.code.match_indices(word));
    hits.map(|(at, word)| file.complaint(at, &format!("`{word}` outside `cpu`"))).collect()
}

fn introduction_and_length(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    if !file.text.starts_with("//! ") {
        complaints.push(file.complaint(0, "expected a first line that begins with `//!`"));
    }
    let lines = file.text.lines().count();
    if lines > MOST_LINES {
        complaints.push(file.complaint(0, &format!("{lines} lines, at most {MOST_LINES}")));
    }
    complaints
}

/// Blanks comments and what stands between quotes, newlines kept.
fn without_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if rest[0] == b'r'
            && (rest[1..].starts_with(b"\"") || rest[1..].starts_with(b"#\""))
            && !is_word(bytes, at)
        {
            at + raw_string(&text[at..])
        } else if rest[0] == b'"' {
            at + string(rest)
        } else if rest[0] == b'\'' {
            at + char_literal(&text[at..])
        } else {
            at += 1;
            continue;
        };
        code[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at = end;
    }
    String::from_utf8(code).unwrap()
}

fn is_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|&b| b == b'#').count();
    let close = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    rest[body..].find(&close).map_or(rest.len(), |end| body + end + close.len())
}

/// The length of a character literal; 1 for the quote of a lifetime.
fn char_literal(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => rest[2..].find('\'').map_or(1, |_| {
            // The escaped character may itself be a quote.
            let from = 3;
            rest[from..].find('\'').map_or(1, |end| from + end + 1)
        }),
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

/// The ranges of items under `#[cfg(test)]`, attribute included.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let item = |(at, _): (usize, &str)| {
        let end = code[at..].find([';', '{']).map_or(code.len(), |end| at + end);
        let end = if code[end..].starts_with('{') { matching(code, end).end } else { end + 1 };
        at..end.min(code.len())
    };
    code.match_indices("#[cfg(test)]").map(item).collect()
}

/// From the brace at `open` to the one that closes it.
fn matching(code: &str, open: usize) -> Range<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open..at + 1;
        }
    }
    open..code.len()
}

fn without_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for item in test_items(code) {
        bytes[item].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
    }
    String::from_utf8(bytes).unwrap()
}

/// The rules against small bad samples: a rule that cannot fail proves nothing.
mod the_checker {
    use super::*;

    fn names(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, room)| (name.to_string(), room.to_string())).collect()
    }

    #[test]
    fn sees_imports_from_above_however_they_are_written() {
        let names = names(&[("Tensor", "tensor"), ("Error", "error")]);
        let complaints =
            |path: &str, text: &str| imports_from_above(&File::new(path, text), &names);
        let bad = [
            ("cpu/gemm.rs", "use crate::tensor::Buffer;"),
            ("cpu/gemm.rs", "fn f() { crate::ops::adamw::step() }"),
            ("cpu/gemm.rs", "use crate::{Error, Tensor};"),
            ("text/split.rs", "use crate::{\n    error::Result,\n    models::{Model, load},\n};"),
            ("formats/json.rs", "use crate::text::split;"),
            ("ops/linear/mod.rs", "use super::super::nn::Linear;"),
            ("error.rs", "use super::tensor;"),
            ("evaluate/mod.rs", "use crate::generate::generate;"),
            ("train/run.rs", "use copla::cli::print;"),
            ("attic/mod.rs", "fn f() {}"),
            ("nn/mod.rs", "use crate::attic::f;"),
        ];
        for (path, text) in bad {
            assert_eq!(complaints(path, text).len(), 1, "{path}: {text}");
        }
        let good = [
            ("cli/train.rs", "use copla::train::run; use super::print;"),
            ("ops/linear/cpu.rs", "use crate::cpu::{gemm, simd}; use super::super::dropout::D;"),
            ("shape.rs", "use crate::error::{Error, Result};"),
            ("tensor/graph.rs", "// use crate::ops\nconst S: &str = \"crate::models\";"),
            ("tensor/graph.rs", "#[cfg(test)]\nmod tests { use crate::models::load; }"),
            ("nn/mod.rs", "use crate::{Error, tensor::{Group, Layout}};"),
        ];
        for (path, text) in good {
            assert!(complaints(path, text).is_empty(), "{:?}", complaints(path, text));
        }
    }

    #[test]
    fn tells_code_from_comments_literals_and_tests() {
        let file = |text| File::new("text/split.rs", text);
        assert_eq!(unwraps(&file("fn f() {\n    x.unwrap();\n}")).len(), 1);
        assert!(
            unwraps(&file("fn f() {\n    x.unwrap();\n}"))[0].starts_with("src/text/split.rs:2:")
        );
        assert_eq!(unwraps(&file("let c = '\\''; x.expect(\"y\"); panic!(\"z\")")).len(), 2);
        assert_eq!(unwraps(&file("let c = '\"'; x.unwrap(); let d = '\"';")).len(), 1);
        assert_eq!(unwraps(&file("#[cfg(test)]\nmod tests;\nfn f() { x.unwrap() }")).len(), 1);
        for fine in [
            "// x.unwrap()",
            "/* /* */ x.unwrap() */",
            "/// ```\n/// x.unwrap();\n/// ```",
            "const S: &str = \"x.unwrap() \\\" x.unwrap()\";",
            "const S: &str = r#\"\" x.unwrap()\"#;",
            "x.unwrap_or(0); x.expect_shape(&[1]);",
            "#[cfg(test)]\nmod tests {\n    fn f<'a>() { if x { x.unwrap() } }\n}",
        ] {
            assert!(unwraps(&file(fine)).is_empty(), "{fine}");
        }
    }

    #[test]
    fn sees_an_unsafe_that_does_not_argue() {
        let complaints = |text: &str| silent_unsafe(&File::new("cpu/simd.rs", text)).len();
        assert_eq!(complaints("fn f() {\n    unsafe { g() }\n}"), 1);
        assert_eq!(complaints("unsafe impl Send for Block {}"), 1);
        assert_eq!(complaints("/// Adds.\npub unsafe fn add() {}"), 1);
        assert_eq!(complaints("// SAFETY: it is mine.\nlet x = 1;\nlet y = unsafe { g() };"), 1);
        assert_eq!(complaints("// SAFETY: it is mine.\n\nunsafe { g() }"), 1);
        assert_eq!(complaints("// SAFETY: it is mine.\nunsafe impl Send for Block {}"), 0);
        assert_eq!(
            complaints("// SAFETY: it is mine.\nlet y = f(\n    1,\n    unsafe { g() },\n);"),
            0
        );
        assert_eq!(
            complaints("/// # Safety\n/// Only once.\n#[inline]\npub unsafe fn add() {}"),
            0
        );
        let below =
            "    // SAFETY (here and below): mine.\n    unsafe { f() }\n\n    unsafe { g() }";
        assert_eq!(complaints(&format!("impl X {{\n{below}\n}}")), 0);
        assert_eq!(
            complaints(&format!("impl X {{\n{below}\n}}\nfn f() {{\n    unsafe {{ g() }}\n}}")),
            1
        );
        assert_eq!(complaints("type F = unsafe fn(usize);\n// unsafe { }\nunsafe fn f() {}"), 0);
    }

    #[test]
    fn sees_devices_and_intrinsics_where_they_do_not_belong() {
        let matches = |path: &str, text: &str| device_matches(&File::new(path, text)).len();
        assert_eq!(matches("nn/mod.rs", "match d {\n    Device::Cpu => 1,\n    _ => 2,\n}"), 1);
        assert_eq!(matches("nn/mod.rs", "if d == Device::Cpu { 1 }"), 1);
        assert_eq!(matches("nn/mod.rs", "if let Device::Cpu = d { 1 }"), 1);
        assert_eq!(matches("nn/mod.rs", "matches!(d, x) || matches!(Device::Cpu, d)"), 1);
        assert_eq!(matches("ops/mod.rs", "match d { Device::Cpu => 1, Device::Meta => 2 }"), 0);
        assert_eq!(matches("cli/train.rs", "let x = load(&dir, Device::Cpu)?;"), 0);
        assert_eq!(matches("cli/train.rs", "None => load(&dir, Device::Cpu)?,"), 0);
        let arch = |path: &str| intrinsics(&File::new(path, "use std::arch::x86_64::*;")).len();
        assert_eq!((arch("ops/linear/cpu.rs"), arch("cpu/simd.rs")), (1, 0));
    }

    #[test]
    fn sees_long_files_and_files_without_an_introduction() {
        let complaints = |text: &str| introduction_and_length(&File::new("nn/mod.rs", text)).len();
        assert_eq!(complaints("use crate::tensor;\n"), 1);
        assert_eq!(complaints(&format!("//! Long.\n{}", "\n".repeat(MOST_LINES))), 1);
        assert_eq!(complaints(&format!("//! Not too long.\n{}", "\n".repeat(MOST_LINES - 1))), 0);
    }
}
