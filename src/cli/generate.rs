//! `copla generate`: a prompt in, its continuations out.

use super::machine::Machine;
use super::{model, note, print};
use copla::Result;
use copla::generate::{Generated, Settings, TextStream, check_prompt, generate, room};
use copla::models::{Pretrained, Use};
use copla::ops::sample::Sampler;
use copla::text::{Special, Tokenizer};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_name = "MODEL", help = model::help_with_default())]
    model: Option<String>,
    /// Text to continue; the empty text begins a new one. A special token such as <|endoftext|> is read as
    /// that token
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: String,
    /// The most tokens to add
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_new_tokens: usize,
    /// Divides the logits; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f32,
    /// Draw from the K most likely tokens; 0 draws from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Draw from the fewest tokens whose probabilities sum to at least P
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    top_p: f32,
    /// Continuations to write
    #[arg(long, value_name = "N", default_value_t = 1)]
    num_return_sequences: usize,
    /// The same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Go on past the end of a text
    #[arg(long)]
    ignore_eos: bool,
    /// Print {"sequences": [{"text", "token_ids", "finish_reason"}]}, without the prompt
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args) -> Result<()> {
    let device = args.machine.device()?;
    let mut settings = Settings {
        max_new_tokens: args.max_new_tokens,
        sampler: Sampler::new(args.temperature, args.top_k, args.top_p)?,
        seed: args.seed,
        eos: None,
        num_return_sequences: args.num_return_sequences,
    };
    settings.check()?;
    let name = args.model.clone().unwrap_or_else(|| model::DEFAULT.to_string());
    let dir = model::directory(args.model)?;
    let loaded = model::load(&dir, Use::Inference, args.machine.dtype(), device)?;
    let Pretrained { model, params, .. } = &loaded;
    let tokenizer = loaded.tokenizer()?;
    settings.sampler = settings.sampler.below(tokenizer.vocab_size());
    settings.eos = tokenizer.special(Special::Eos).filter(|_| !args.ignore_eos);
    let prompt = tokenizer.encode_prompt(&args.prompt)?;
    check_prompt(&prompt, &**model)?;
    let room = room(prompt.len(), args.max_new_tokens, &**model);

    let mut stream =
        (!args.json && args.num_return_sequences == 1).then(|| TextStream::new(tokenizer));
    if !args.json {
        note(format_args!(
            "{name}: temperature {}, top-p {}, top-k {}, seed {}, at most {} new tokens",
            args.temperature, args.top_p, args.top_k, args.seed, room
        ));
    }
    if stream.is_some() {
        print(&args.prompt)?;
    }
    let sequences =
        generate(&**model, params, &[prompt], &settings, &mut |_, id| match &mut stream {
            Some(stream) if settings.eos != Some(id) => print(stream.push(id)?),
            _ => Ok(()),
        })?;
    match stream {
        Some(stream) => print(format_args!("{}\n", stream.finish()?))?,
        None if args.json => print_json(&sequences, tokenizer)?,
        None => print_texts(&args.prompt, &sequences, tokenizer)?,
    }
    if let Some(context) = model.context()
        && args.max_new_tokens > room
        && sequences.iter().any(|one| one.token_ids.len() == room)
    {
        note(format_args!("copla: the model's context of {context} tokens is full"));
    }
    Ok(())
}

fn print_json(sequences: &[Generated], tokenizer: &Tokenizer) -> Result<()> {
    let sequences = sequences.iter().map(|one| {
        Ok(json!({
            "text": tokenizer.decode(one.text_ids())?,
            "token_ids": one.token_ids,
            "finish_reason": one.finish_reason.name(),
        }))
    });
    print(format_args!("{:#}\n", json!({ "sequences": sequences.collect::<Result<Vec<_>>>()? })))
}

fn print_texts(prompt: &str, sequences: &[Generated], tokenizer: &Tokenizer) -> Result<()> {
    for (i, one) in sequences.iter().enumerate() {
        let text = tokenizer.decode(one.text_ids())?;
        print(format_args!("--- {} ---\n{prompt}{text}\n", i + 1))?;
    }
    Ok(())
}
