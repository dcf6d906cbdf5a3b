//! BLOOM: the decoder's dialect of bigscience/bloom-560m and its larger siblings.
//!
//! BigScience, "BLOOM: A 176B-Parameter Open-Access Multilingual Language Model" (2022); names,
//! layouts and config keys as in `transformers`' `BloomForCausalLM`. Positions are in the scores only,
//! the embedding is normed, and the rows of queries, keys and values alternate head by head.

use crate::error::Result;
use crate::formats::json::Object;
use crate::models::Stored;
use crate::models::decoder::{Dialect, DropoutShares, Options, Positions};
use crate::models::family::{self, DecoderModel, shortest};
use crate::ops::linear::Activation;
use serde_json::{Value, json};

pub type Bloom = DecoderModel<Family>;

pub enum Family {}

static DIALECT: Dialect = Dialect {
    positions: Positions::Alibi,
    embedding_norm: Some("transformer.word_embeddings_layernorm"),
    scaled: true,
    qkv_bias: true,
    narrow_residual: false,
    tokens: "transformer.word_embeddings.weight",
    blocks: "transformer.h",
    attention_norm: "input_layernorm",
    qkv: "self_attention.query_key_value",
    attention_out: "self_attention.dense",
    mlp_norm: "post_attention_layernorm",
    mlp_in: "mlp.dense_h_to_4h",
    mlp_out: "mlp.dense_4h_to_h",
    last_norm: "transformer.ln_f",
};

impl family::Family for Family {
    const DIALECT: &'static Dialect = &DIALECT;

    fn options(config: &Object) -> Result<Options> {
        family::expect_flags(config, &[("apply_residual_connection_post_layernorm", false)])?;
        let width: usize = family::first_of(config, &["n_embed", "hidden_size"], 64)?;
        Ok(Options {
            vocab: config.get_or("vocab_size", 250_880)?,
            // Nothing in the weights ends it; the published models were trained on 2048.
            context: config.get_or("seq_length", 2048)?,
            width,
            layers: family::first_of(config, &["n_layer", "num_hidden_layers"], 2)?,
            heads: family::first_of(config, &["n_head", "num_attention_heads"], 8)?,
            mlp_width: width.saturating_mul(4),
            activation: Activation::GeluTanh,
            eps: config.get_or("layer_norm_epsilon", 1e-5)?,
            dropout: DropoutShares {
                embedding: 0.0,
                attention: config.get_or("attention_dropout", 0.0)?,
                residual: config.get_or("hidden_dropout", 0.0)?,
            },
            window: None,
            tied: config.get_or("tie_word_embeddings", true)?,
        })
    }

    fn config(options: &Options) -> Value {
        let Options { vocab, context, width, layers, heads, dropout, .. } = options;
        json!({
            "architectures": ["BloomForCausalLM"],
            "model_type": "bloom",
            "vocab_size": vocab,
            "seq_length": context,
            "hidden_size": width,
            "n_layer": layers,
            "n_head": heads,
            "layer_norm_epsilon": shortest(options.eps),
            "attention_dropout": shortest(dropout.attention),
            "hidden_dropout": shortest(dropout.residual),
        })
    }

    fn stored(options: &Options, name: &str) -> Stored {
        let by_head = Stored::ByHead { heads: options.heads };
        if name.contains(DIALECT.qkv) { by_head } else { Stored::AsHere }
    }
}
