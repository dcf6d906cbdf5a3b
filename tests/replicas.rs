//! The promise: the models that people name can be used as they are. Every replica under
//! `golden/replicas` (real files, keys, names, dtypes and special tokens; small and random) is loaded,
//! computes and tokenizes as `transformers` does, is told about, evaluated, trained and converted, and
//! writes.

use copla::formats::safetensors::Weights;
use copla::generate::{Settings, generate};
use copla::models::{Input, Pretrained, Use, load};
use copla::nn::Pass;
use copla::ops::adamw::AdamW;
use copla::ops::sample::Sampler;
use copla::text::{BatchOptions, Batcher, Special, Tokens};
use copla::train::{Decay, Schedule, Trainer};
use copla::{DType, Device};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The end of text that each is found to have, and what its config said where that was another.
const REPLICAS: [(&str, u32, Option<u32>); 10] = [
    ("distilgpt2", 299, None),
    ("gpt2", 299, None),
    ("datificate--gpt2-small-spanish", 0, Some(299)),
    ("DeepESP--gpt2-spanish", 0, Some(299)),
    // No file names its end of text, and that of the class is not in the vocabulary: it is added.
    ("flax-community--gpt-2-spanish", 300, Some(299)),
    ("mrm8488--spanish-gpt2", 300, Some(299)),
    ("ITG--DialoGPT-medium-spanish-chitchat", 299, None),
    ("ostorc--Conversational_Spanish_GPT", 299, None),
    ("EleutherAI--gpt-neo-125M", 299, None),
    ("bigscience--bloom-560m", 2, None),
];

fn replicas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/replicas")
}

/// A replica, and what `transformers` says of it.
struct Replica {
    name: &'static str,
    eos: u32,
    config_said: Option<u32>,
    dir: PathBuf,
    computed: Weights,
    expected: Value,
}

impl Replica {
    fn all() -> Vec<Replica> {
        let open = |&(name, eos, config_said): &(&'static str, u32, Option<u32>)| {
            let expected = replicas().join("expected");
            let json = std::fs::read(expected.join(format!("{name}.json"))).unwrap();
            Replica {
                name,
                eos,
                config_said,
                dir: replicas().join(name),
                computed: Weights::open(&expected.join(format!("{name}.safetensors"))).unwrap(),
                expected: serde_json::from_slice(&json).unwrap(),
            }
        };
        REPLICAS.iter().map(open).collect()
    }

    fn ids(&self, key: &str) -> Vec<u32> {
        self.computed.get(key).unwrap().to_u32().unwrap()
    }

    fn open(&self, wanted: Use) -> Pretrained {
        Pretrained::load(&self.dir, wanted, DType::F32, Device::Cpu).unwrap()
    }

    /// The rows of the embedding as they are in the file.
    fn rows(&self) -> usize {
        let config = std::fs::read(self.dir.join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        config["vocab_size"].as_u64().unwrap() as usize
    }

    /// What `copla ARGUMENTS` prints in JSON, DIR being the replica's; it must succeed.
    fn copla(&self, arguments: &[&str]) -> Value {
        let dir = self.dir.to_str().unwrap();
        let arguments = arguments.iter().map(|&word| if word == "DIR" { dir } else { word });
        let output =
            Command::new(env!("CARGO_BIN_EXE_copla")).args(arguments).arg("--json").output();
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", self.name);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[test]
fn every_replica_is_tested() {
    let listed = std::fs::read_dir(replicas()).unwrap().map(|entry| entry.unwrap());
    let mut found: Vec<String> = listed
        .filter(|entry| entry.path().join("config.json").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let mut tested = REPLICAS.map(|(name, ..)| name);
    found.sort();
    tested.sort();
    assert_eq!(found, tested);
}

#[test]
fn the_logits_are_those_of_transformers() {
    for replica in Replica::all() {
        let Pretrained { model, params, .. } = replica.open(Use::Inference);
        let input = Input::rows(&replica.ids("token_ids"), 1, Device::Cpu).unwrap();
        let mut pass = Pass::new(&params);
        let hidden = model.hidden(&input, &mut pass).unwrap();
        let logits = model.logits(&hidden, &mut pass).unwrap();
        let expected = replica.computed.get("logits").unwrap();
        let (rows, found) = (model.vocab_size(), logits.to_vec::<f32>().unwrap());
        assert_eq!(expected.shape, [1, found.len() / rows, replica.rows()], "{}", replica.name);
        // What the embedding has grown by, `transformers` does not have.
        let found = found.chunks_exact(rows).flat_map(|row| &row[..replica.rows()]);
        for (x, y) in found.zip(expected.to_f32().unwrap()) {
            assert!((x - y).abs() <= 1e-4, "{}: expected {y}, found {x}", replica.name);
        }
    }
}

/// Where there are both, `model.safetensors` is read; the pickle, often with other names, says the same.
#[test]
fn both_forms_of_the_weights_are_the_same_model() {
    let mut pairs = 0;
    for replica in Replica::all() {
        if !replica.dir.join("model.safetensors").exists() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        for file in ["config.json", "pytorch_model.bin"] {
            std::fs::copy(replica.dir.join(file), dir.path().join(file)).unwrap();
        }
        let [(_, ours), (_, pickled)] = [&*replica.dir, dir.path()]
            .map(|dir| load(dir, Use::Inference, DType::F32, Device::Cpu).unwrap());
        for ((a, segment), (b, _)) in ours.segments().zip(pickled.segments()) {
            let [a, b] = [ours.get(a), pickled.get(b)].map(|x| x.to_vec::<f32>().unwrap());
            assert!(a == b, "{}: {}", replica.name, segment.name);
        }
        pairs += 1;
    }
    assert_eq!(pairs, 4);
}

/// The tokenizer decides, and a config that says otherwise is told.
#[test]
fn special_ids_are_those_of_transformers_tokenizer_and_a_disagreement_is_told() {
    for replica in Replica::all() {
        let found = replica.open(Use::Inference);
        let tokenizer = found.tokenizer().unwrap();
        assert_eq!(tokenizer.eos().unwrap(), replica.eos, "{}", replica.name);
        assert_eq!(found.model.config()["eos_token_id"], replica.eos, "{}", replica.name);
        for special in Special::ALL {
            let expected = &replica.expected["tokenizer"][special.id_key()];
            assert_eq!(json!(tokenizer.special(special)), *expected, "{}", replica.name);
        }
        let notes = found.notes.iter().filter(|line| line.contains("config.json: eos_token_id is"));
        let notes: Vec<&String> = notes.collect();
        assert_eq!(notes.len(), usize::from(replica.config_said.is_some()), "{notes:?}");
        if let (Some(said), Some(note)) = (replica.config_said, notes.first()) {
            let decided = format!("is {said}; {} is used", replica.eos);
            assert!(note.contains(&decided), "{}: {note}", replica.name);
        }
    }
}

/// A row for every token and no fewer than the config asks for; a new one is the mean of the others.
#[test]
fn the_embedding_grows_for_an_end_of_text_beyond_it() {
    for replica in Replica::all() {
        let found = replica.open(Use::Inference);
        let before = replica.rows();
        let grows = replica.eos as usize == before;
        let rows = before + usize::from(grows);
        assert_eq!(found.model.vocab_size(), rows, "{}", replica.name);
        let said = found.notes.iter().any(|line| line.contains("grows from 300 rows to 301"));
        assert_eq!(said, grows, "{}: {:?}", replica.name, found.notes);
        if grows {
            let (table, segment) = found.params.segments().next().unwrap();
            let values = found.params.get(table).to_vec::<f32>().unwrap();
            let width = segment.shape[1];
            let (old, new) = values.split_at(before * width);
            for (i, x) in new.iter().enumerate() {
                let mean = old.iter().skip(i).step_by(width).sum::<f32>() / before as f32;
                assert!((x - mean).abs() < 1e-5, "{}: {x} for {mean}", replica.name);
            }
        }
    }
}

#[test]
fn the_tokens_are_those_of_transformers() {
    for replica in Replica::all() {
        let found = replica.open(Use::Inference);
        let tokenizer = found.tokenizer().unwrap();
        for (n, text) in replica.expected["texts"].as_array().unwrap().iter().enumerate() {
            let (text, expected) = (text.as_str().unwrap(), replica.ids(&format!("text.{n}")));
            assert_eq!(tokenizer.encode_prompt(text).unwrap(), expected, "{}", replica.name);
            assert_eq!(tokenizer.decode(&expected).unwrap(), text, "{}", replica.name);
        }
    }
}

#[test]
fn each_is_evaluated() {
    let text = tempfile::Builder::new().suffix(".txt").tempfile().unwrap();
    std::fs::write(&text, "La luna baja al río.\n\n¿Quién canta en la orilla, niña?\n").unwrap();
    for replica in Replica::all() {
        let data = text.path().to_str().unwrap();
        let found = replica.copla(&["evaluate", "--model", "DIR", "--data", data]);
        let loss = found["loss"].as_f64().unwrap();
        // Random weights foretell worse than knowing nothing, which would be ln 300, but not wildly so.
        assert!((5.0..20.0).contains(&loss), "{}: {loss}", replica.name);
        assert_eq!(found["chars"], 52, "{}", replica.name);
    }
}

#[test]
fn each_writes_what_its_tokenizer_can_spell() {
    for replica in Replica::all() {
        let written =
            replica.copla(
                &[
                    &[
                        "generate",
                        "--model",
                        "DIR",
                        "--prompt",
                        "La luna",
                        "--max-new-tokens",
                        "12",
                    ][..],
                    &["--temperature", "5", "--ignore-eos", "--num-return-sequences", "3"],
                ]
                .concat(),
            );
        for sequence in written["sequences"].as_array().unwrap() {
            let ids = sequence["token_ids"].as_array().unwrap();
            assert_eq!(ids.len(), 12, "{}", replica.name);
            // BLOOM's embedding has twenty rows for which there is no token.
            assert!(ids.iter().all(|id| id.as_u64().unwrap() < 300), "{}: {ids:?}", replica.name);
        }
    }
}

#[test]
fn the_greedy_text_is_that_of_transformers() {
    for replica in Replica::all() {
        let Pretrained { model, params, .. } = replica.open(Use::Inference);
        let expected = replica.ids("greedy");
        let settings = Settings {
            max_new_tokens: expected.len(),
            sampler: Sampler::GREEDY,
            seed: 0,
            eos: None,
            num_return_sequences: 1,
        };
        let prompts = [replica.ids("token_ids")];
        let written = generate(&*model, &params, &prompts, &settings, &mut |_, _| Ok(())).unwrap();
        assert_eq!(written[0].token_ids, expected, "{}", replica.name);
    }
}

#[test]
fn each_learns_a_text_by_heart() {
    for replica in Replica::all() {
        let found = replica.open(Use::Training);
        let tokenizer = found.tokenizer().unwrap();
        let tokens = Tokens::new(tokenizer, &["La luna baja al río."], &mut |_| {}).unwrap();
        let batches = Batcher::new(tokens, BatchOptions::new(32, 1)).unwrap();
        let Pretrained { model, params, .. } = found;
        let schedule =
            Schedule { peak: 1e-2, warmup_steps: 0, total_steps: 20, decay: Decay::Constant };
        let rule = AdamW::default();
        let mut trainer = Trainer::new(model, params, rule, schedule, 1.0, 0).unwrap();
        let losses: Vec<f32> =
            (0..20).map(|step| trainer.step(&batches.batch(step)).unwrap().loss).collect();
        let (first, last) = (losses[0], losses[19]);
        assert!(last < first / 2.0, "{}: {first} to {last}", replica.name);
    }
}

/// `copla train --model`: its texts' ends are learnt, and what is saved is what was trained, with one
/// opinion on the special ids.
#[test]
fn each_is_trained_on() {
    let text = tempfile::Builder::new().suffix(".txt").tempfile().unwrap();
    std::fs::write(&text, "La luna baja al río.\n\n¿Quién canta?\n\nLa niña canta.\n").unwrap();
    for replica in Replica::all() {
        let place = tempfile::tempdir().unwrap();
        let (dir, data) = (place.path().join("trained"), text.path().to_str().unwrap());
        let output = Command::new(env!("CARGO_BIN_EXE_copla"))
            .args(["train", "--model", replica.dir.to_str().unwrap(), "--data", data])
            .args(["--output", dir.to_str().unwrap(), "--learning-rate", "1e-2"])
            .args(["--num-train-epochs", "6", "--eval-steps", "100", "--device", "cpu"])
            .output()
            .unwrap();
        let (told, printed) = (String::from_utf8(output.stderr), String::from_utf8(output.stdout));
        let (told, printed) = (told.unwrap(), printed.unwrap());
        assert!(output.status.success(), "{}: {told}", replica.name);
        assert!(printed.contains("2 of them ends of text"), "{}: {printed}", replica.name);
        let after = Pretrained::load(&dir, Use::Inference, DType::F32, Device::Cpu).unwrap();
        assert_eq!(after.notes, [""; 0], "{}", replica.name);
        assert_eq!(after.tokenizer().unwrap().eos().unwrap(), replica.eos, "{}", replica.name);
        let before = replica.open(Use::Inference);
        assert_eq!(before.model.sizes(), after.model.sizes(), "{}", replica.name);
        let moved =
            before.params.segments().zip(after.params.segments()).any(|((a, _), (b, _))| {
                before.params.get(a).to_vec::<f32>().unwrap()
                    != after.params.get(b).to_vec::<f32>().unwrap()
            });
        assert!(moved, "{}: no weight moved", replica.name);
    }
}

#[test]
fn each_is_told_about() {
    for replica in Replica::all() {
        let found = replica.copla(&["info", "DIR"]);
        let Pretrained { model, params, .. } = replica.open(Use::Inference);
        let of_model = model.config();
        assert_eq!(found["family"], of_model["model_type"], "{}", replica.name);
        let special = found["tokenizer"]["special"].as_array().unwrap();
        let eos = special.iter().find(|special| special["name"] == "eos_token").unwrap();
        assert_eq!(eos["id"], replica.eos, "{}", replica.name);
        let file = found["weights"]["files"][0]["name"].as_str().unwrap();
        let has_safetensors = replica.dir.join("model.safetensors").exists();
        let expected = if has_safetensors { "model.safetensors" } else { "pytorch_model.bin" };
        assert_eq!(file, expected, "{}", replica.name);
        assert_eq!(found["parameters"], params.count(), "{}", replica.name);
    }
}

/// Converted, it is the model that it was, without whatever had to be mended.
#[test]
fn each_is_converted() {
    for replica in Replica::all() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("converted");
        replica.copla(&["convert", "DIR", "--output", dir.to_str().unwrap()]);
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            assert!(dir.join(file).exists(), "{}: {file}", replica.name);
        }
        let before = replica.open(Use::Inference);
        let after = Pretrained::load(&dir, Use::Inference, DType::F32, Device::Cpu).unwrap();
        assert_eq!(after.notes, [""; 0], "{}", replica.name);
        assert_eq!(after.tokenizer().unwrap().eos().unwrap(), replica.eos, "{}", replica.name);
        for ((a, segment), (b, _)) in before.params.segments().zip(after.params.segments()) {
            let a = before.params.get(a).to_vec::<f32>().unwrap();
            let b = after.params.get(b).to_vec::<f32>().unwrap();
            assert!(a == b, "{}: {}", replica.name, segment.name);
        }
    }
}
