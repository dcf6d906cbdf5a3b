//! GPT-Neo: the decoder's dialect of EleutherAI/gpt-neo-125M and its larger siblings.
//!
//! Black et al., "GPT-Neo" (2021); names, layouts and config keys as in `transformers`'
//! `GPTNeoForCausalLM`. Half of the layers see only a window, and scores are not scaled.

use crate::error::{Error, Result};
use crate::formats::json::Object;
use crate::models::Stored;
use crate::models::decoder::{Dialect, DropoutShares, MOST_LAYERS, Options, Positions, Window};
use crate::models::family::{self, DecoderModel, shortest};
use serde_json::{Value, json};

pub type GptNeo = DecoderModel<Family>;

pub enum Family {}

static DIALECT: Dialect = Dialect {
    positions: Positions::Learned("transformer.wpe.weight"),
    embedding_norm: None,
    scaled: false,
    qkv_bias: false,
    narrow_residual: false,
    tokens: "transformer.wte.weight",
    blocks: "transformer.h",
    attention_norm: "ln_1",
    qkv: "attn.attention.qkv_proj",
    attention_out: "attn.attention.out_proj",
    mlp_norm: "ln_2",
    mlp_in: "mlp.c_fc",
    mlp_out: "mlp.c_proj",
    last_norm: "transformer.ln_f",
};

/// What the file has instead of `qkv_proj`.
const APART: Stored = Stored::Apart { part: "qkv_proj", names: ["q_proj", "k_proj", "v_proj"] };

impl family::Family for Family {
    const DIALECT: &'static Dialect = &DIALECT;

    fn options(config: &Object) -> Result<Options> {
        let width = family::first_of(config, &["hidden_size", "n_embd"], 2048)?;
        let layers = family::first_of(config, &["num_layers", "num_hidden_layers"], 24)?;
        let mlp_width = config.optional("intermediate_size")?;
        Ok(Options {
            vocab: config.get_or("vocab_size", 50257)?,
            context: config.get_or("max_position_embeddings", 2048)?,
            width,
            layers,
            heads: family::first_of(config, &["num_heads", "num_attention_heads"], 16)?,
            mlp_width: mlp_width.unwrap_or(width.saturating_mul(4)),
            activation: family::activation(config)?,
            eps: config.get_or("layer_norm_epsilon", 1e-5)?,
            dropout: DropoutShares {
                embedding: config.get_or("embed_dropout", 0.0)?,
                attention: config.get_or("attention_dropout", 0.0)?,
                residual: config.get_or("resid_dropout", 0.0)?,
            },
            window: Some(Window {
                keys: config.get_or("window_size", 256)?,
                local: local_layers(config)?,
            }),
            tied: config.get_or("tie_word_embeddings", true)?,
        })
    }

    fn config(options: &Options) -> Value {
        let Options { vocab, context, width, layers, heads, dropout, .. } = options;
        let window = options.window.as_ref();
        let name = |i| if window.is_some_and(|w| w.local[i]) { "local" } else { "global" };
        let attention_layers: Vec<&str> = (0..*layers).map(name).collect();
        json!({
            "architectures": ["GPTNeoForCausalLM"],
            "model_type": "gpt_neo",
            "vocab_size": vocab,
            "max_position_embeddings": context,
            "hidden_size": width,
            "num_layers": layers,
            "num_heads": heads,
            "intermediate_size": family::mlp_width(options),
            "attention_types": [[attention_layers, 1]],
            "attention_layers": attention_layers,
            "window_size": window.map(|window| window.keys),
            "activation_function": family::activation_name(options.activation),
            "layer_norm_epsilon": shortest(options.eps),
            "embed_dropout": shortest(dropout.embedding),
            "attention_dropout": shortest(dropout.attention),
            "resid_dropout": shortest(dropout.residual),
        })
    }

    fn stored(_: &Options, name: &str) -> Stored {
        if name.contains(DIALECT.qkv) { APART } else { Stored::AsHere }
    }
}

/// Which layers are local: `attention_types` is a list of `[[types], times]`, each list of types being
/// repeated as often, and `[[["global", "local"], 12]]` where it is missing.
fn local_layers(config: &Object) -> Result<Vec<bool>> {
    let usual = json!([[["global", "local"], 12]]);
    let types = match config.map().get("attention_types") {
        None | Some(Value::Null) => &usual,
        Some(types) => types,
    };
    let wrong = || -> Error {
        let expected = "a list of [[\"global\" or \"local\", ...], times]";
        family::unsupported("attention_types", expected, &types.to_string())
    };
    let mut local = Vec::new();
    for group in types.as_array().ok_or_else(wrong)? {
        let [Value::Array(names), times] = &group.as_array().ok_or_else(wrong)?[..] else {
            return Err(wrong());
        };
        let of_group: Vec<bool> = names
            .iter()
            .map(|name| match name.as_str() {
                Some("local") => Ok(true),
                Some("global") => Ok(false),
                _ => Err(wrong()),
            })
            .collect::<Result<_>>()?;
        let times = usize::try_from(times.as_u64().ok_or_else(wrong)?).map_err(|_| wrong())?;
        // A number of times that no model has is not to fill the memory.
        if of_group.len().saturating_mul(times).saturating_add(local.len()) > MOST_LAYERS {
            return Err(wrong());
        }
        local.extend(of_group.repeat(times));
    }
    Ok(local)
}
