//! GPT-2: the decoder's dialect of distilgpt2, gpt2, DialoGPT and the Spanish GPT-2s.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); names, layouts and
//! config keys as in `transformers`' `GPT2LMHeadModel`.

use crate::error::{Error, Result};
use crate::formats::json::Object;
use crate::models::decoder::{Decoder, DropoutShares, Names, Options};
use crate::models::{Input, Model, Stored};
use crate::nn::{Pass, State};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::linear::Activation;
use crate::random::{Rng, normal_pair};
use crate::tensor::{Layout, Parameters, Tensor};
use serde_json::{Map, Value, json};

const NAMES: Names = Names {
    tokens: "transformer.wte.weight",
    positions: "transformer.wpe.weight",
    blocks: "transformer.h",
    attention_norm: "ln_1",
    qkv: "attn.c_attn",
    attention_out: "attn.c_proj",
    mlp_norm: "ln_2",
    mlp_in: "mlp.c_fc",
    mlp_out: "mlp.c_proj",
    last_norm: "transformer.ln_f",
};

/// Standard deviation of fresh weights (`initializer_range`).
const INITIALIZER_RANGE: f32 = 0.02;

pub struct Gpt2 {
    decoder: Decoder,
    /// The id that ends a text, as the tokenizer has it; written to the config.
    eos: Option<u32>,
}

/// Sizes by name: those of the published models, and smaller ones to be trained from scratch.
/// name, layers, width, heads, context, dropout.
const PRESETS: [(&str, usize, usize, usize, usize, f32); 6] = [
    ("nano", 4, 192, 6, 256, 0.1),
    ("micro", 6, 320, 5, 512, 0.1),
    ("mini", 8, 512, 8, 512, 0.1),
    ("distilgpt2", 6, 768, 12, 1024, 0.1),
    ("gpt2", 12, 768, 12, 1024, 0.1),
    ("gpt2-medium", 24, 1024, 16, 1024, 0.1),
];

/// The sizes that a preset names, for a vocabulary of `vocab`.
pub fn preset(name: &str, vocab: usize) -> Result<Options> {
    let Some(&(_, layers, width, heads, context, dropout)) =
        PRESETS.iter().find(|preset| preset.0 == name)
    else {
        let names = PRESETS.map(|preset| preset.0).join(", ");
        return Err(Error::usage("--preset", format!("one of {names}"), format!("\"{name}\"")));
    };
    Ok(Options {
        vocab,
        context,
        width,
        layers,
        heads,
        mlp_width: 4 * width,
        activation: Activation::GeluTanh,
        eps: 1e-5,
        dropout: DropoutShares { embedding: dropout, attention: dropout, residual: dropout },
    })
}

impl Gpt2 {
    pub fn new(options: Options, eos: Option<u32>) -> Result<Self> {
        Ok(Gpt2 { decoder: Decoder::new(options, &NAMES, &mut Layout::new())?, eos })
    }

    pub fn from_config(config: &Object) -> Result<Self> {
        let width = config.get_or("n_embd", 768)?;
        let activation: String = config.get_or("activation_function", "gelu_new".into())?;
        let activation = match activation.as_str() {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
            "gelu" => Activation::GeluErf,
            other => return Err(unsupported("activation_function", "gelu_new or gelu", other)),
        };
        for (key, expected) in [
            ("scale_attn_weights", true),
            ("scale_attn_by_inverse_layer_idx", false),
            ("add_cross_attention", false),
            ("tie_word_embeddings", true),
        ] {
            if config.get_or(key, expected)? != expected {
                return Err(unsupported(key, &expected.to_string(), &(!expected).to_string()));
            }
        }
        let options = Options {
            vocab: config.get_or("vocab_size", 50257)?,
            context: config.get_or("n_positions", 1024)?,
            width,
            layers: config.get_or("n_layer", 12)?,
            heads: config.get_or("n_head", 12)?,
            mlp_width: config.optional("n_inner")?.unwrap_or(width.saturating_mul(4)),
            activation,
            eps: config.get_or("layer_norm_epsilon", 1e-5)?,
            dropout: DropoutShares {
                embedding: config.get_or("embd_pdrop", 0.1)?,
                attention: config.get_or("attn_pdrop", 0.1)?,
                residual: config.get_or("resid_pdrop", 0.1)?,
            },
        };
        Self::new(options, config.optional("eos_token_id")?)
    }
}

fn unsupported(key: &str, expected: &str, found: &str) -> Error {
    Error::bad_data(format!("config.json: {key}"), expected, found)
}

impl Model for Gpt2 {
    fn hidden(&self, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        self.decoder.hidden(input, pass)
    }

    fn logits(&self, hidden: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        self.decoder.logits(hidden, pass)
    }

    fn loss(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        options: CrossEntropy,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        self.decoder.loss(hidden, targets, options, pass)
    }

    fn new_state(&self, rows: usize, capacity: usize, params: &Parameters) -> Result<State> {
        self.decoder.new_state(rows, capacity, params)
    }

    fn vocab_size(&self) -> usize {
        self.decoder.options.vocab
    }

    fn context(&self) -> usize {
        self.decoder.options.context
    }

    fn layout(&self) -> Result<Layout> {
        let mut layout = Layout::new();
        Decoder::new(self.decoder.options.clone(), &NAMES, &mut layout)?;
        Ok(layout)
    }

    /// N(0, 0.02), the maps into the residual stream narrower by √(2·layers); norms 1, biases 0.
    fn initialise(&self, params: &mut Parameters, seed: u64) -> Result<()> {
        let rng = Rng::new(seed);
        let narrow = INITIALIZER_RANGE / (2.0 * self.decoder.options.layers as f32).sqrt();
        let segments: Vec<_> = params.segments().map(|(id, s)| (id, s.clone())).collect();
        for (site, (param, segment)) in segments.into_iter().enumerate() {
            let n = segment.shape.numel();
            let values: Vec<f32> = match segment.name.as_str() {
                name if name.ends_with(".bias") => vec![0.0; n],
                name if name.contains("ln_") => vec![1.0; n],
                name => {
                    let std = if name.contains("c_proj") { narrow } else { INITIALIZER_RANGE };
                    normals(rng, site as u64, n).map(|x| x * std).collect()
                }
            };
            params.set(param, &values)?;
        }
        Ok(())
    }

    fn config(&self) -> Map<String, Value> {
        let Options { vocab, context, width, layers, heads, mlp_width, .. } = self.decoder.options;
        let dropout = self.decoder.options.dropout;
        let activation = match self.decoder.options.activation {
            Activation::GeluErf => "gelu",
            Activation::GeluTanh | Activation::Identity => "gelu_new",
        };
        let config = json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": vocab,
            "n_positions": context,
            "n_ctx": context,
            "n_embd": width,
            "n_layer": layers,
            "n_head": heads,
            "n_inner": if mlp_width == 4 * width { Value::Null } else { json!(mlp_width) },
            "activation_function": activation,
            // As the shortest decimal, not as the f32 widened to f64.
            "layer_norm_epsilon": shortest(self.decoder.options.eps),
            "embd_pdrop": shortest(dropout.embedding),
            "attn_pdrop": shortest(dropout.attention),
            "resid_pdrop": shortest(dropout.residual),
            "initializer_range": shortest(INITIALIZER_RANGE),
            "bos_token_id": self.eos,
            "eos_token_id": self.eos,
            "tie_word_embeddings": true,
            "use_cache": true,
        });
        match config {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    fn stored(&self, name: &str) -> Stored {
        let conv1d = [NAMES.qkv, NAMES.attention_out, NAMES.mlp_in, NAMES.mlp_out];
        let is = |part: &&str| name.strip_suffix(".weight").is_some_and(|n| n.ends_with(*part));
        if conv1d.iter().any(is) { Stored::Transposed } else { Stored::AsHere }
    }
}

fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// `n` standard normal numbers of one site.
fn normals(rng: Rng, site: u64, n: usize) -> impl Iterator<Item = f32> {
    let key = rng.key(site);
    let four = move |i| {
        let [a, b, c, d] = rng.words(key, i);
        let ((w, x), (y, z)) = (normal_pair(a, b), normal_pair(c, d));
        [w, x, y, z]
    };
    (0..).flat_map(four).take(n)
}
