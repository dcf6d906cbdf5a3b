//! The promise: the models that people name can be used as they are. Every replica under
//! `golden/replicas` (real files, keys, names, dtypes and special tokens; small and random) is loaded,
//! computes and tokenizes as `transformers` does, is evaluated, writes and is trained.

use copla::formats::safetensors::Weights;
use copla::generate::{Settings, generate};
use copla::models::{Input, Use, load};
use copla::nn::Pass;
use copla::ops::adamw::AdamW;
use copla::ops::sample::Sampler;
use copla::text::{Batcher, Tokenizer};
use copla::train::{Decay, Schedule, Trainer};
use copla::{DType, Device};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const REPLICAS: [&str; 10] = [
    "distilgpt2",
    "gpt2",
    "datificate--gpt2-small-spanish",
    "DeepESP--gpt2-spanish",
    "flax-community--gpt-2-spanish",
    "mrm8488--spanish-gpt2",
    "ITG--DialoGPT-medium-spanish-chitchat",
    "ostorc--Conversational_Spanish_GPT",
    "EleutherAI--gpt-neo-125M",
    "bigscience--bloom-560m",
];

fn replicas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/replicas")
}

/// A replica, and what `transformers` says of it.
struct Replica {
    name: &'static str,
    dir: PathBuf,
    computed: Weights,
    special: Value,
}

impl Replica {
    fn all() -> Vec<Replica> {
        let open = |name: &&'static str| {
            let expected = replicas().join("expected");
            let special = std::fs::read(expected.join(format!("{name}.json"))).unwrap();
            Replica {
                name,
                dir: replicas().join(name),
                computed: Weights::open(&expected.join(format!("{name}.safetensors"))).unwrap(),
                special: serde_json::from_slice(&special).unwrap(),
            }
        };
        REPLICAS.iter().map(open).collect()
    }

    fn ids(&self, key: &str) -> Vec<u32> {
        self.computed.get(key).unwrap().to_u32().unwrap()
    }

    /// What `copla COMMAND --model DIR ARGUMENTS` prints; it must succeed.
    fn copla(&self, command: &str, arguments: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_copla"))
            .args([command, "--model", self.dir.to_str().unwrap()])
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {command} {arguments:?}: {told}", self.name);
        output
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_replica_is_tested() {
    let listed = std::fs::read_dir(replicas()).unwrap().map(|entry| entry.unwrap());
    let mut found: Vec<String> = listed
        .filter(|entry| entry.path().join("config.json").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let mut tested = REPLICAS.to_vec();
    (found.sort(), tested.sort());
    assert_eq!(found, tested);
}

#[test]
fn the_logits_are_those_of_transformers() {
    for replica in Replica::all() {
        let (model, params) = load(&replica.dir, Use::Inference, DType::F32, Device::Cpu).unwrap();
        let input = Input::rows(&replica.ids("token_ids"), 1, Device::Cpu).unwrap();
        let mut pass = Pass::new(&params);
        let hidden = model.hidden(&input, &mut pass).unwrap();
        let logits = model.logits(&hidden, &mut pass).unwrap();
        let expected = replica.computed.get("logits").unwrap();
        assert_eq!(logits.dims(), expected.shape, "{}", replica.name);
        for (x, y) in logits.read().unwrap().iter().zip(expected.to_f32().unwrap()) {
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

/// Those that main can tokenize with today: their end of text stands in their vocabulary.
fn tokenized() -> impl Iterator<Item = Replica> {
    Replica::all().into_iter().filter(|replica| replica.special["tokenizer"]["eos_token_id"] != 300)
}

#[test]
fn the_tokens_are_those_of_transformers() {
    for replica in tokenized() {
        let tokenizer = Tokenizer::load(&replica.dir).unwrap();
        for (n, text) in replica.special["texts"].as_array().unwrap().iter().enumerate() {
            let (text, expected) = (text.as_str().unwrap(), replica.ids(&format!("text.{n}")));
            assert_eq!(tokenizer.encode_prompt(text).unwrap(), expected, "{}", replica.name);
            assert_eq!(tokenizer.decode(&expected).unwrap(), text, "{}", replica.name);
        }
    }
}

#[test]
fn each_is_evaluated() {
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&text, "La luna baja al río.\n\n¿Quién canta en la orilla, niña?\n").unwrap();
    for replica in tokenized() {
        let found =
            json(&replica.copla("evaluate", &["--data", text.path().to_str().unwrap(), "--json"]));
        let loss = found["loss"].as_f64().unwrap();
        // Random weights foretell worse than knowing nothing, which would be ln 300, but not wildly so.
        assert!((5.0..20.0).contains(&loss), "{}: {loss}", replica.name);
        assert_eq!(found["chars"], 52, "{}", replica.name);
    }
}

#[test]
fn each_writes_what_its_tokenizer_can_spell() {
    for replica in tokenized() {
        let asked = ["--prompt", "La luna", "--max-new-tokens", "12", "--temperature", "5"];
        let more = ["--ignore-eos", "--num-return-sequences", "3", "--json"];
        let written = json(&replica.copla("generate", &[&asked[..], &more].concat()));
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
        let (model, params) = load(&replica.dir, Use::Inference, DType::F32, Device::Cpu).unwrap();
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
    for replica in tokenized() {
        let tokenizer = Tokenizer::load(&replica.dir).unwrap();
        let (model, params) = load(&replica.dir, Use::Training, DType::F32, Device::Cpu).unwrap();
        let ids = [tokenizer.encode("La luna baja al río.").unwrap()];
        let batches = Batcher::new(&ids, tokenizer.eos(), 32, 1, 0).unwrap();
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
