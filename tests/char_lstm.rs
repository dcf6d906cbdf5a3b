//! The character LSTM reads documents in pieces as if they were whole: as PyTorch does, in training and in
//! evaluation; and the commands train it, sample it and refuse what cannot be.

use copla::evaluate::evaluate_tokenised;
use copla::formats::safetensors::Weights;
use copla::models::char_lstm::{CharLstm, Options};
use copla::models::{Input, Model, Use, load};
use copla::nn::{Pass, State};
use copla::ops::adamw::AdamW;
use copla::ops::cross_entropy::CrossEntropy;
use copla::random::{Rng, philox};
use copla::text::{Streams, Tokens};
use copla::train::{Decay, Schedule, Trainer};
use copla::{DType, Device, Gradients, Parameters, Tensor, backward, no_grad};
use std::path::Path;
use std::process::{Command, Output};

mod golden;

fn tiny(wanted: Use) -> (Box<dyn Model>, Parameters) {
    load(&golden::dir(FAMILY), wanted, DType::F32, Device::Cpu).unwrap()
}

const FAMILY: &str = golden::FAMILIES[3];

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |most, x| f32::max(most, x.abs()));
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        let bound = 5e-6 + 1e-5 * largest;
        assert!((x - y).abs() <= bound, "{what}[{i}]: expected {y}, found {x} (bound {bound:.1e})");
    }
}

#[test]
fn pieces_and_their_gradients_are_those_of_torch() {
    const PIECE: usize = 8;
    let (model, params) = tiny(Use::Training);
    let file = golden::dir(FAMILY).join("expected_pieces.safetensors");
    let expected = Weights::open(&file).unwrap();
    let values = |name: &str| expected.get(name).unwrap().to_f32().unwrap();
    // [2, 24], of which a piece has columns.
    let cut = |name: &str, first: usize| -> Tensor {
        let ids = expected.get(name).unwrap().to_u32().unwrap();
        let rows: Vec<u32> =
            ids.chunks(24).flat_map(|row| row[first..first + PIECE].to_vec()).collect();
        Tensor::from_slice(&rows, &[2, PIECE], Device::Cpu).unwrap()
    };
    let mut grads = Gradients::new(&params).unwrap();
    let mut state = model.new_state(2, PIECE, &params).unwrap();
    let (logits, losses) = (values("logits"), values("loss"));
    for (piece, first) in [0, 8, 16].into_iter().enumerate() {
        let [tokens, positions, targets] =
            ["token_ids", "positions", "targets"].map(|name| cut(name, first));
        let input = Input { first_key: tokens.clone(), tokens, positions };
        let mut pass = Pass { state: Some(&mut state), ..Pass::new(&params) };
        let hidden = model.hidden(&input, &mut pass).unwrap();
        let found = no_grad(|| model.logits(&hidden, &mut pass)).unwrap().read().unwrap().to_vec();
        for (row, found) in found.chunks(PIECE * 97).enumerate() {
            let start = (row * 24 + first) * 97;
            assert_close("logits", found, &logits[start..start + PIECE * 97]);
        }
        let options = CrossEntropy { targets: 2 * PIECE, chunk: usize::MAX };
        let loss = model.loss(&hidden, &targets, options, &mut pass).unwrap();
        assert_close("loss", &[loss.item().unwrap()], &losses[piece..piece + 1]);
        if piece == 1 {
            backward(loss, Tensor::scalar(1.0, Device::Cpu).unwrap(), &mut grads).unwrap();
        }
    }
    for (param, segment) in params.segments() {
        let name = format!("grad.{}", segment.name);
        assert_close(&name, &grads.get(param).unwrap().read().unwrap(), &values(&name));
    }
}

/// Documents of up to 300 tokens, more than two pieces of an evaluation, an empty one among them.
fn documents() -> Vec<Vec<u32>> {
    let word = |i: u32, j: u32| philox(3, [i, j, 0, 0])[0];
    let document = |i| (0..word(i, 0) % 300).map(|j| word(i, j + 1) % 97).collect();
    (0..12).map(document).chain([Vec::new()]).collect()
}

/// The id that begins and ends each of them.
const EOS: u32 = 5;

/// Σ −ln p of every document, read whole and alone.
fn nats_alone(documents: &[Vec<u32>]) -> f64 {
    let (model, params) = tiny(Use::Inference);
    let nats = |ids: &Vec<u32>| {
        let input = Input::rows(&[&[EOS], &ids[..]].concat(), 1, Device::Cpu).unwrap();
        let mut pass = Pass::new(&params);
        let hidden = model.hidden(&input, &mut pass).unwrap();
        let logits = model.logits(&hidden, &mut pass).unwrap().to_vec::<f32>().unwrap();
        let targets = ids.iter().chain([&EOS]);
        let nats = logits.chunks(97).zip(targets).map(|(row, &target)| {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            sum.ln() - f64::from(row[target as usize])
        });
        nats.sum::<f64>()
    };
    no_grad(|| documents.iter().map(nats).sum())
}

#[test]
fn an_evaluation_reads_every_document_whole() {
    let (model, params) = tiny(Use::Inference);
    let mut documents = documents();
    let alone = nats_alone(&documents);
    for _ in 0..2 {
        let tokens = Tokens::from_ids(&documents, EOS);
        let found = evaluate_tokenised(&*model, &params, &tokens).unwrap();
        let nats = found.loss * found.tokens as f64;
        assert!((nats - alone).abs() < 1e-5 * alone, "{nats} for {alone}");
        // The same in other company.
        documents.rotate_left(5);
        documents.reverse();
    }
}

/// Trains without moving: a step's loss is that of the model as it was loaded, its head times `factor`.
fn standing_still(dtype: DType, factor: f32) -> Trainer {
    let (model, mut params) =
        load(&golden::dir(FAMILY), Use::Training, dtype, Device::Cpu).unwrap();
    let head = params.segments().find(|(_, s)| s.name == "head.weight").unwrap().0;
    let value: Vec<f32> = params.get(head).read().unwrap().iter().map(|x| factor * x).collect();
    params.set(head, &value).unwrap();
    let schedule = Schedule { peak: 0.0, warmup_steps: 0, total_steps: 1, decay: Decay::Constant };
    Trainer::new(model, params, AdamW::default(), schedule, 1.0, 0).unwrap()
}

fn streams(documents: &[Vec<u32>], time: usize, rows: usize) -> Streams {
    Streams::new(Tokens::from_ids(documents, EOS), time, rows, 9).unwrap()
}

#[test]
fn training_carries_the_state_through_every_epoch() {
    let documents = documents();
    let alone = nats_alone(&documents);
    for (time, rows) in [(7, 3), (64, 2)] {
        let (streams, mut trainer) =
            (streams(&documents, time, rows), standing_still(DType::F32, 1.0));
        let mut batches = (0..).map(|step| streams.batch(step));
        for epoch in 0..2 {
            let (mut nats, mut targets) = (0.0, 0);
            while targets < streams.targets() {
                let batch = batches.next().unwrap();
                let loss = trainer.step(&batch).unwrap().loss;
                nats += f64::from(loss) * batch.targets() as f64;
                targets += batch.targets();
            }
            assert!((nats - alone).abs() < 1e-5 * alone, "{epoch}: {nats} for {alone}");
        }
    }
}

#[test]
fn a_skipped_step_is_carried_on_from() {
    let documents = documents();
    let streams = streams(&documents, 16, 2);
    // A head whose gradient overflows at the first scales.
    let [mut wide, mut narrow] = [DType::F32, DType::F16].map(|dtype| standing_still(dtype, 50.0));
    let mut skipped = 0;
    for step in 0..12 {
        let batch = streams.batch(step);
        let (expected, found) = (wide.step(&batch).unwrap(), narrow.step(&batch).unwrap());
        skipped += usize::from(found.skipped);
        let difference = (expected.loss - found.loss).abs();
        assert!(difference < 5e-3 * expected.loss, "step {step}: {found:?} for {expected:?}");
    }
    assert!((1..10).contains(&skipped), "{skipped} of 12 steps were skipped");
}

fn small(layers: usize, dropout: f32) -> (CharLstm, Parameters) {
    let options = Options { vocab: 97, embedding: 7, hidden: 35, layers, dropout };
    let model = CharLstm::new(options, Some(5)).unwrap();
    let mut params = model.layout().unwrap().build(DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 3).unwrap();
    (model, params)
}

#[test]
fn it_learns_and_the_bits_do_not_depend_on_threads() {
    let texts: Vec<Vec<u32>> =
        (0..9).map(|i| (0..60).map(|j| (i + j * 2) % 19).collect()).collect();
    let streams = Streams::new(Tokens::from_ids(&texts, 96), 16, 4, 1).unwrap();
    let train = |threads: usize| {
        let (model, params) = small(2, 0.1);
        let schedule =
            Schedule { peak: 1e-2, warmup_steps: 2, total_steps: 40, decay: Decay::Cosine };
        let mut trainer =
            Trainer::new(Box::new(model), params, AdamW::default(), schedule, 1.0, 7).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let losses = (0..40).map(|n| trainer.step(&streams.batch(n)).unwrap().loss);
            losses.collect::<Vec<f32>>()
        })
    };
    let one = train(1);
    assert!(one[39] < one[0] - 1.0, "{one:?}");
    for threads in [2, 3] {
        let bits = |losses: &[f32]| losses.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&one), bits(&train(threads)), "{threads} threads");
    }
}

/// As `torch.nn.LSTM`: between the layers, and neither before the first nor after the last.
#[test]
fn dropout_stands_between_layers() {
    let ids: Vec<u32> = (0..24).collect();
    let input = Input::rows(&ids, 2, Device::Cpu).unwrap();
    for (layers, differs) in [(1, false), (2, true)] {
        let (model, params) = small(layers, 0.5);
        let [plain, dropped] = [None, Some(Rng::new(1))].map(|dropout| {
            let mut pass = Pass { dropout, ..Pass::new(&params) };
            no_grad(|| model.hidden(&input, &mut pass)).unwrap().to_vec::<f32>().unwrap()
        });
        assert_eq!(plain != dropped, differs, "{layers} layers");
        assert!(dropped.iter().all(|x| *x != 0.0), "an output of the last layer was dropped");
    }
}

#[test]
fn fresh_weights_are_drawn_as_pytorch_draws_them() {
    let (_, params) = small(3, 0.0);
    let bound = 1.0 / 35f32.sqrt();
    for (param, segment) in params.segments() {
        let values = params.get(param).to_vec::<f32>().unwrap();
        let squares: f32 = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
        let largest = values.iter().fold(0.0, |most, x| f32::max(most, x.abs()));
        if segment.name == "embedding.weight" {
            assert!((squares - 1.0).abs() < 0.2 && largest > 2.0, "{squares} {largest}");
        } else {
            let uniform = bound * bound / 3.0;
            assert!((squares / uniform - 1.0).abs() < 0.25, "{}: {squares}", segment.name);
            assert!((0.9 * bound..=bound).contains(&largest), "{}: {largest}", segment.name);
        }
    }
}

/// What a pass carries is not a history: nothing of an earlier piece is kept alive for backward.
#[test]
fn what_is_carried_has_no_history() {
    let (model, params) = small(2, 0.0);
    let mut state = State::default();
    let input = Input::rows(&[1, 2, 3, 4], 2, Device::Cpu).unwrap();
    let mut pass = Pass { state: Some(&mut state), ..Pass::new(&params) };
    assert!(model.hidden(&input, &mut pass).unwrap().edge().is_some());
    assert_eq!(state.recurrent.len(), 2);
    for (h, c) in &state.recurrent {
        assert!(h.edge().is_none() && c.edge().is_none());
        assert_eq!((h.dims(), c.dims()), (&[2, 35][..], &[2, 35][..]));
    }
}

fn copla(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla"))
        .args(arguments)
        .args(["--device", "cpu"])
        .current_dir(directory)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

const TRAIN: [&str; 13] = [
    "train",
    "--preset",
    "char-lstm",
    "--data",
    "verses.txt",
    "--output",
    "model",
    "--max-steps",
    "2",
    "--block-size",
    "16",
    "--per-device-train-batch-size",
    "2",
];

#[test]
fn the_commands_train_sample_and_judge_it() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let verses: Vec<String> =
        (1..13).map(|i| format!("el {}de la luna\nno sabe de mí\n", "mar ".repeat(i))).collect();
    std::fs::write(path("verses.txt"), verses.join("\n")).unwrap();
    std::fs::write(path("other.txt"), "el mar\n\n¿qué?\n").unwrap();
    let run = |arguments: &[&str]| {
        let output = copla(arguments, place.path());
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&run(arguments)).unwrap()
    };
    let text = run(&TRAIN);
    for words in ["step 2/2", "model char-lstm", "bits per character", "ends of text"] {
        assert!(text.contains(words), "no \"{words}\" in {text}");
    }
    let config = std::fs::read_to_string(path("model/config.json")).unwrap();
    assert!(config.contains("\"model_type\": \"char_lstm\""), "{config}");

    let write =
        ["generate", "--model", "model", "--prompt", "el", "--json", "--max-new-tokens", "9"];
    let two = json(&[&write[..], &["--num-return-sequences", "2", "--ignore-eos"]].concat());
    assert_eq!(two["sequences"][1]["token_ids"].as_array().unwrap().len(), 9);
    // Longer than a row of the training, since nothing limits it; one character is one token.
    let more = run(&["generate", "--model", "model", "--prompt", "el", "--max-new-tokens", "70"]);
    assert!(more.contains("at most 70 new tokens") && !more.contains("context"), "{more}");

    let judge = |file| json(&["evaluate", "--model", "model", "--json", "--data", file]);
    let (known, other) = (judge("verses.txt"), judge("other.txt"));
    assert_eq!(known["unknown_tokens"], 0);
    assert_eq!(known["tokens"].as_u64(), known["chars"].as_u64().map(|chars| chars + 12));
    // ¿, q, é and ? are not in the verses.
    assert_eq!(other["unknown_tokens"], 4);
    assert!(other["bits_per_char"].as_f64() > known["bits_per_char"].as_f64(), "{other} {known}");

    run(&["inspect", "--model", "model", "--text", "la luna", "--dump", "dump", "--gradients"]);
    let dump = Weights::open(&path("dump")).unwrap();
    assert_eq!(dump.get("hidden.2").unwrap().shape[..2], [1, 8]);
    assert!(dump.contains("grad.lstm.weight_hh_l1"));

    // Trained again with the same seed: the same bytes.
    let before = std::fs::read(path("model/model.safetensors")).unwrap();
    run(&TRAIN);
    assert!(before == std::fs::read(path("model/model.safetensors")).unwrap());
    refusals(place.path());
}

/// One line each, and the documented exit code.
fn refusals(place: &Path) {
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let output = copla(arguments, place);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words) && said.lines().count() == 1, "no \"{words}\" in {said}");
    };
    refused(&[&TRAIN[..], &["--vocab-size", "300"]].concat(), 2, "a token for each character");
    refused(&["train", "--preset", "charlstm"], 2, "gpt2-medium, char-lstm, found \"charlstm\"");
    let config = place.join("model/config.json");
    let good = std::fs::read_to_string(&config).unwrap();
    for (key, value, code, words) in [
        ("\"hidden_size\": 256", "\"hidden_size\": 0", 5, "a width of at least 1, found 0"),
        ("\"hidden_size\": 256", "\"hidden_size\": 255", 5, "lstm.weight_ih_l0"),
        ("\"num_layers\": 2", "\"num_layers\": 3", 5, "lstm.weight_ih_l2"),
        ("\"num_layers\": 2", "\"num_layers\": 1", 5, "only weights of the model"),
        ("\"num_layers\": 2", "\"num_layers\": 5000", 5, "1 to 1000 layers, found 5000"),
        ("\"hidden_size\": 256", "\"hidden_size\": 9000000000000000000", 3, "parameters"),
        ("\"hidden_size\"", "\"hidden\"", 5, "`hidden_size`"),
    ] {
        assert!(good.contains(key), "{good}");
        std::fs::write(&config, good.replace(key, value)).unwrap();
        refused(&["generate", "--model", "model", "--prompt", "el"], code, words);
    }
}
