//! GPT-2: the decoder's dialect of distilgpt2, gpt2, DialoGPT and the Spanish GPT-2s.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); names, layouts and
//! config keys as in `transformers`' `GPT2LMHeadModel`.

use crate::error::Result;
use crate::formats::json::Object;
use crate::models::Stored;
use crate::models::decoder::{Dialect, DropoutShares, Options, Positions};
use crate::models::family::{self, DecoderModel, shortest};
use crate::ops::linear::Activation;
use serde_json::{Value, json};

pub type Gpt2 = DecoderModel<Family>;

pub enum Family {}

static DIALECT: Dialect = Dialect {
    positions: Positions::Learned("transformer.wpe.weight"),
    embedding_norm: None,
    scaled: true,
    qkv_bias: true,
    narrow_residual: true,
    tokens: "transformer.wte.weight",
    blocks: "transformer.h",
    attention_norm: "ln_1",
    qkv: "attn.c_attn",
    attention_out: "attn.c_proj",
    mlp_norm: "ln_2",
    mlp_in: "mlp.c_fc",
    mlp_out: "mlp.c_proj",
    last_norm: "transformer.ln_f",
};

/// Sizes by name: those of the published models, and smaller ones to be trained from scratch.
/// name, layers, width, heads, context, dropout.
pub const PRESETS: [(&str, usize, usize, usize, usize, f32); 6] = [
    ("nano", 4, 192, 6, 256, 0.1),
    ("micro", 6, 320, 5, 512, 0.1),
    ("mini", 8, 512, 8, 512, 0.1),
    ("distilgpt2", 6, 768, 12, 1024, 0.1),
    ("gpt2", 12, 768, 12, 1024, 0.1),
    ("gpt2-medium", 24, 1024, 16, 1024, 0.1),
];

/// The sizes that a preset names, for a vocabulary of `vocab`.
pub fn preset(name: &str, vocab: usize) -> Option<Options> {
    let &(_, layers, width, heads, context, dropout) =
        PRESETS.iter().find(|preset| preset.0 == name)?;
    Some(Options {
        vocab,
        context,
        width,
        layers,
        heads,
        mlp_width: 4 * width,
        activation: Activation::GeluTanh,
        eps: 1e-5,
        dropout: DropoutShares { embedding: dropout, attention: dropout, residual: dropout },
        window: None,
        tied: true,
    })
}

impl family::Family for Family {
    const DIALECT: &'static Dialect = &DIALECT;

    fn options(config: &Object) -> Result<Options> {
        let width = family::first_of(config, &["n_embd", "hidden_size"], 768)?;
        // The oldest configs have `n_ctx` alone.
        let context = ["n_positions", "max_position_embeddings", "n_ctx"];
        family::expect_flags(
            config,
            &[
                ("scale_attn_weights", true),
                ("scale_attn_by_inverse_layer_idx", false),
                ("add_cross_attention", false),
            ],
        )?;
        Ok(Options {
            vocab: config.get_or("vocab_size", 50257)?,
            context: family::first_of(config, &context, 1024)?,
            width,
            layers: family::first_of(config, &["n_layer", "num_hidden_layers"], 12)?,
            heads: family::first_of(config, &["n_head", "num_attention_heads"], 12)?,
            mlp_width: config.optional("n_inner")?.unwrap_or(width.saturating_mul(4)),
            activation: family::activation(config)?,
            eps: config.get_or("layer_norm_epsilon", 1e-5)?,
            dropout: DropoutShares {
                embedding: config.get_or("embd_pdrop", 0.1)?,
                attention: config.get_or("attn_pdrop", 0.1)?,
                residual: config.get_or("resid_pdrop", 0.1)?,
            },
            window: None,
            tied: config.get_or("tie_word_embeddings", true)?,
        })
    }

    fn config(options: &Options) -> Value {
        let Options { vocab, context, width, layers, heads, dropout, .. } = options;
        json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": vocab,
            "n_positions": context,
            "n_ctx": context,
            "n_embd": width,
            "n_layer": layers,
            "n_head": heads,
            "n_inner": family::mlp_width(options),
            "activation_function": family::activation_name(options.activation),
            "layer_norm_epsilon": shortest(options.eps),
            "embd_pdrop": shortest(dropout.embedding),
            "attn_pdrop": shortest(dropout.attention),
            "resid_pdrop": shortest(dropout.residual),
        })
    }

    fn stored(_: &Options, name: &str) -> Stored {
        let conv1d = [DIALECT.qkv, DIALECT.attention_out, DIALECT.mlp_in, DIALECT.mlp_out];
        let is = |part: &&str| name.strip_suffix(".weight").is_some_and(|n| n.ends_with(*part));
        if conv1d.iter().any(is) { Stored::Transposed } else { Stored::AsHere }
    }
}
