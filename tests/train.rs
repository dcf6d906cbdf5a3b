//! `copla train`: it learns, the same bits every time, saves what opens again, and refuses what cannot be.

use copla::models::decoder::{DropoutShares, Options};
use copla::models::gpt2::{Gpt2, preset};
use copla::models::{Model, Use, load};
use copla::ops::adamw::AdamW;
use copla::text::{Packing, embedded, split};
use copla::train::{Data, DataOptions, Decay, Schedule, Step, Trainer, Vocabulary};
use copla::{DType, Device};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn copla(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// Small enough that a step takes milliseconds.
const QUICK: [&str; 7] =
    ["train", "--max-steps", "3", "--block-size", "32", "--per-device-train-batch-size", "4"];

fn quick(more: &[&str]) -> Vec<&'static str> {
    let more = more.iter().map(|s| &*s.to_string().leak());
    QUICK.iter().copied().chain(more).collect()
}

fn small(vocab: usize) -> Options {
    let sizes = preset("nano", vocab).unwrap();
    let dropout = DropoutShares { embedding: 0.1, attention: 0.1, residual: 0.1 };
    Options { width: 24, layers: 2, heads: 3, mlp_width: 96, dropout, ..sizes }
}

fn train(steps: u64, threads: usize) -> (Vec<Step>, Vec<f32>) {
    let options = DataOptions {
        time: 48,
        rows: 3,
        streams: false,
        packing: Packing::Isolate,
        mask_eos: false,
        seed: 7,
        cache: None,
    };
    let (parts, vocabulary) = (split(embedded().unwrap(), 0.1, 7).unwrap(), Vocabulary::Bpe(300));
    let data = Data::prepare(parts, vocabulary, &options, &mut |_| {}).unwrap();
    let model = Gpt2::new(small(300), Some(data.tokenizer.eos().unwrap())).unwrap();
    let mut params = model.layout().unwrap().build(DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 7).unwrap();
    let schedule =
        Schedule { peak: 5e-3, warmup_steps: 2, total_steps: steps, decay: Decay::Cosine };
    let mut trainer =
        Trainer::new(Box::new(model), params, AdamW::default(), schedule, 1.0, 7).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let seen = pool.install(|| {
        (0..steps).map(|step| trainer.step(&data.train.batch(step)).unwrap()).collect()
    });
    let values = trainer.params.values_mut().unwrap().slice::<f32>().unwrap().to_vec();
    (seen, values)
}

#[test]
fn it_learns_and_the_bits_do_not_depend_on_threads() {
    let (steps, values) = train(30, 1);
    let mean = |steps: &[Step]| steps.iter().map(|s| s.loss).sum::<f32>() / steps.len() as f32;
    let (first, last) = (mean(&steps[..3]), mean(&steps[27..]));
    assert!(last < first - 0.5, "{first} to {last}");
    assert!(steps.iter().all(|step| step.grad_norm > 0.0));
    for threads in [2, 3] {
        let (_, again) = train(30, threads);
        let same = values.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{threads} threads");
    }
}

#[test]
fn the_command_saves_a_model_that_opens_and_prints_what_it_promises() {
    let place = tempfile::tempdir().unwrap();
    let ran = copla(&quick(&["--output", "model", "--learning_rate", "1e-3"]), place.path());
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    for word in ["step 3/3", "loss", "bits/char", "lr", "tokens/s", "left", "Kneser-Ney", "ends"] {
        assert!(said.contains(word), "no \"{word}\" in:\n{said}");
    }
    let (model, params) =
        load(&place.path().join("model"), Use::Inference, DType::F32, Device::Cpu).unwrap();
    assert_eq!(model.vocab_size(), params.segments().next().unwrap().1.shape[0]);
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the model is left: {left:?}");
    // Trained again over itself, with the same seed: the same bytes.
    let file = place.path().join("model/model.safetensors");
    let before = std::fs::read(&file).unwrap();
    copla(&quick(&["--output", "model", "--learning_rate", "1e-3"]), place.path());
    assert!(before == std::fs::read(&file).unwrap(), "the same seed, other weights");
}

#[test]
fn every_packing_trains_and_masked_ends_are_told() {
    let place = tempfile::tempdir().unwrap();
    let texts: String = (0..20).map(|i| format!("{i} la luna baja al río\n\n")).collect();
    std::fs::write(place.path().join("texts.txt"), texts).unwrap();
    let given = ["--data", "texts.txt", "--output", "model", "--packing"];
    let cases: [(&[&str], &str); 2] = [
        (&["concat"], "18 of them ends of text\n"),
        (&["none", "--mask_eos"], " 0 of them ends of text; 18 more are masked"),
    ];
    for (options, word) in cases {
        let ran = copla(&quick(&[&given, options].concat()), place.path());
        let said = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
        assert!(said.contains("step 3/3") && said.contains(word), "{options:?}: {said}");
    }
}

#[test]
fn an_interrupt_saves_first() {
    let place = tempfile::tempdir().unwrap();
    let arguments = ["train", "--max-steps", "1000000", "--output", "model"];
    let mut run = Command::new(env!("CARGO_BIN_EXE_copla"))
        .args(arguments)
        .current_dir(place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first line of a step says that the handler is in place.
    let mut said = String::new();
    let mut lines = std::io::BufReader::new(run.stdout.take().unwrap());
    while !said.contains("step 1/") {
        assert!(std::io::BufRead::read_line(&mut lines, &mut said).unwrap() > 0, "{said}");
    }
    let killed = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let asked = Instant::now();
    std::io::Read::read_to_string(&mut lines, &mut said).unwrap();
    let status = run.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(120));
    assert!(load(&place.path().join("model"), Use::Inference, DType::F32, Device::Cpu).is_ok());
}

/// Exactly one line on stderr, this exit code, and nothing new in the directory.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("latin1.txt"), b"coraz\xf3n\n\n\nni\xf1o\n").unwrap();
    std::fs::write(place.path().join("empty.txt"), b"").unwrap();
    std::fs::write(place.path().join("blank.csv"), b"author,title,content\na,b,\"  \"\n").unwrap();
    std::fs::write(place.path().join("columns.csv"), b"autor,verso\na,b\n").unwrap();
    std::fs::write(place.path().join("one.txt"), "Un solo verso sin compañero.").unwrap();
    let before = std::fs::read_dir(place.path()).unwrap().count();
    let ran = copla(arguments, place.path());
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: no \"{word}\" in {said}");
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), before, "{arguments:?}");
}

#[test]
fn bad_texts_are_refused_with_exit_5() {
    let data = |file: &str, words: &[&str]| refused(&quick(&["--data", file]), 5, words);
    data("nowhere.csv", &["nowhere.csv", "no such file"]);
    data("latin1.txt:encoding=utf-8", &["latin1.txt", "UTF-8", "5"]);
    data("empty.txt", &["empty.txt"]);
    data("blank.csv", &["blank.csv"]);
    data("columns.csv", &["content", "autor"]);
    data("one.txt", &["document"]);
}

#[test]
fn impossible_options_are_refused_with_exit_2() {
    let option = |pair: &[&str]| refused(&quick(pair), 2, &pair[..1]);
    option(&["--learning-rate", "-1"]);
    option(&["--learning-rate", "NaN"]);
    option(&["--dropout", "1"]);
    option(&["--validation-share", "1.5"]);
    option(&["--preset", "giant"]);
    option(&["--warmup-steps", "-3"]);
    option(&["--eval-steps", "0"]);
    option(&["--weight-decay", "inf"]);
    option(&["--lr-scheduler-type", "zigzag"]);
    option(&["--block-size", "0"]);
    option(&["--adam-beta2", "1"]);
    option(&["--packing", "zigzag"]);
    refused(
        &quick(&["--preset", "char-lstm", "--packing", "none"]),
        2,
        &["--packing", "char-lstm"],
    );
    refused(&quick(&["--preset", "char-lstm", "--mask-eos"]), 2, &["--mask-eos", "char-lstm"]);
    refused(&quick(&["--vocab-size", "100"]), 2, &["257"]);
    refused(&quick(&["--no-such-option"]), 2, &["--no-such-option"]);
    refused(&quick(&["--output", "one.txt"]), 2, &["one.txt"]);
}

#[test]
fn a_run_that_diverges_says_so_with_exit_4() {
    refused(
        &quick(&["--learning-rate", "1e30", "--max-grad-norm", "0", "--warmup-steps", "0"]),
        4,
        &["finite"],
    );
}
