//! `copla train`: texts in, a model that writes out: a new one, or one that could write before. With no
//! arguments, on copla's own corpus.

use super::machine::Machine;
use super::texts::{Prepared, Texts};
use clap::ValueEnum;
use copla::evaluate::{Evaluation, Evaluations};
use copla::formats::cache_dir;
use copla::models::{self, Fresh, Model, Pretrained, Use};
use copla::ops::adamw::AdamW;
use copla::text::sources::SourceReport;
use copla::text::{Packing, tokens};
use copla::train::{
    Data, DataOptions, Decay, Length, Observer, Options, Progress, Recipe, Schedule, Step, Trainer,
    Vocabulary, write_texts,
};
use copla::{Device, Error, Parameters, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    texts: Texts,
    /// Directory for the model
    #[arg(long, default_value = super::model::DEFAULT)]
    output: PathBuf,
    #[arg(
        long,
        value_name = "MODEL",
        conflicts_with_all = ["preset", "vocab_size", "dropout"],
        help = format!("Go on with a model that can write, with its tokenizer. {}", super::model::HELP)
    )]
    model: Option<String>,
    /// A tokenizer learnt before, or that of a model, for --model: what its tokens were in the model's old
    /// vocabulary is where their embeddings begin
    #[arg(long, value_name = "MODEL", requires = "model")]
    retokenize: Option<String>,
    /// Begin a model of this size: nano, micro, mini, distilgpt2, gpt2, gpt2-medium, char-lstm
    #[arg(long, default_value = "nano")]
    preset: String,
    /// Times to go through the texts [default: the preset's steps, or 3 with --model]
    #[arg(long)]
    num_train_epochs: Option<u64>,
    /// Updates to make, whatever --num-train-epochs says [default: the preset's]
    #[arg(long)]
    max_steps: Option<u64>,
    /// Rows of a batch [default: the preset's, or 8 with --model]
    #[arg(long)]
    per_device_train_batch_size: Option<usize>,
    /// Tokens of a row [default: the preset's; with --model the context, but at most 256]
    #[arg(long)]
    block_size: Option<usize>,
    /// What stands in a row [default: isolate]
    #[arg(long, value_enum)]
    packing: Option<Packed>,
    /// Mask every target with the id of the end of text, as transformers' collator does where it pads with
    /// that id: such a model never learns to stop. Only to compare with
    #[arg(long)]
    mask_eos: bool,
    /// Keep no tokens for the next run; by default those of 4 MiB of text or more are kept
    #[arg(long)]
    no_cache: bool,
    /// Tokens that the tokenizer learns, at least 257; not for characters [default: the preset's]
    #[arg(long)]
    vocab_size: Option<usize>,
    /// A tokenizer learnt before, or that of a model, instead of one that the training texts teach
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["model", "vocab_size"])]
    tokenizer: Option<String>,
    /// Highest learning rate [default: the preset's, or 5e-5 with --model]
    #[arg(long)]
    learning_rate: Option<f32>,
    /// What follows the warm-up
    #[arg(long, value_enum, default_value = "cosine")]
    lr_scheduler_type: SchedulerType,
    /// Steps of warm-up, or below 1 their share of all
    #[arg(long, default_value_t = 0.05)]
    warmup_steps: f64,
    /// Weight decay of matrices and embeddings [default: the preset's, or 0 with --model]
    #[arg(long)]
    weight_decay: Option<f32>,
    #[arg(long, default_value_t = 0.9)]
    adam_beta1: f32,
    #[arg(long, default_value_t = 0.95)]
    adam_beta2: f32,
    #[arg(long, default_value_t = 1e-8)]
    adam_epsilon: f32,
    /// The norm to which gradients are clipped; 0 clips nothing
    #[arg(long, default_value_t = 1.0)]
    max_grad_norm: f32,
    /// Share of numbers dropped in training [default: the preset's; with --model its config's]
    #[arg(long)]
    dropout: Option<f32>,
    /// Steps between validations [default: a sixteenth of all]
    #[arg(long)]
    eval_steps: Option<u64>,
    /// Seed of the weights, the split, the order and the dropout
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    machine: Machine,
}

#[derive(Clone, Copy, ValueEnum)]
enum Packed {
    /// Documents that each see only themselves
    Isolate,
    /// Documents end to end, as GPT-2 was trained: it teaches that a text depends on the one before it,
    /// which is another's
    Concat,
    /// One document, or a window of it; a batch has rows of like lengths
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchedulerType {
    Linear,
    Cosine,
    Constant,
}

impl Args {
    /// Every number that has a range, before any work is done.
    fn check(&self) -> Result<()> {
        self.texts.check()?;
        let betas = [("--adam-beta1", self.adam_beta1), ("--adam-beta2", self.adam_beta2)];
        for (name, value) in betas {
            require(value > 0.0 && value < 1.0, name, "a number between 0 and 1", value)?;
        }
        let positive = [
            ("--learning-rate", self.learning_rate.unwrap_or(1.0)),
            ("--adam-epsilon", self.adam_epsilon),
        ];
        for (name, value) in positive {
            require(value > 0.0 && value.is_finite(), name, "a positive number", value)?;
        }
        let not_negative = [
            ("--weight-decay", self.weight_decay.unwrap_or(0.0)),
            ("--max-grad-norm", self.max_grad_norm),
        ];
        for (name, value) in not_negative {
            require(value >= 0.0 && value.is_finite(), name, "a number of at least 0", value)?;
        }
        if let Some(value) = self.dropout {
            require((0.0..1.0).contains(&value), "--dropout", "a share from 0 to below 1", value)?;
        }
        let counts = [
            ("--max-steps", self.max_steps),
            ("--num-train-epochs", self.num_train_epochs),
            ("--eval-steps", self.eval_steps),
            ("--per-device-train-batch-size", self.per_device_train_batch_size.map(|n| n as u64)),
            ("--block-size", self.block_size.map(|n| n as u64)),
        ];
        for (name, value) in counts {
            require(value != Some(0), name, "at least 1", 0)?;
        }
        Ok(())
    }

    /// Usage error: `name` reads whole documents, one after another, by its `recipe`.
    fn packing(&self, name: &str, recipe: &Recipe) -> Result<Packing> {
        let given = self.packing.map(|_| "--packing").or(self.mask_eos.then_some("--mask-eos"));
        if let Some(option) = given.filter(|_| recipe.streams) {
            let expected = format!("nothing: {name} reads whole documents, one after another");
            return Err(Error::usage(option, expected, "it"));
        }
        Ok(match self.packing {
            None | Some(Packed::Isolate) => Packing::Isolate,
            Some(Packed::Concat) => Packing::Concat,
            Some(Packed::None) => Packing::Alone,
        })
    }
}

fn require(fine: bool, name: &str, expected: &str, found: impl ToString) -> Result<()> {
    if fine { Ok(()) } else { Err(Error::usage(name, expected, found.to_string())) }
}

/// What is trained: a model from scratch by its preset's name, or one that was given.
struct Beginning {
    name: String,
    recipe: Recipe,
    given: Option<Pretrained>,
}

impl Beginning {
    fn of(args: &Args, device: Device) -> Result<Self> {
        let Some(name) = &args.model else {
            let recipe = Recipe::of(&args.preset)?;
            if let (Some(size), None) = (args.vocab_size, recipe.vocab_size) {
                let expected = format!("nothing: {} has a token for each character", args.preset);
                return Err(Error::usage("--vocab-size", expected, size.to_string()));
            }
            return Ok(Beginning { name: args.preset.clone(), recipe, given: None });
        };
        let dir = super::model::directory(Some(name.clone()))?;
        let same = |path: &Path| path.canonicalize().ok();
        if same(&dir).is_some_and(|dir| Some(dir) == same(&args.output)) {
            let found = args.output.display().to_string();
            return Err(Error::usage("--output", "another directory than the model's", found));
        }
        let given = super::model::load(&dir, Use::Training, args.machine.dtype(), device)?;
        if let (Some(time), Some(context)) = (args.block_size, given.model.context())
            && time > context
        {
            let expected = format!("at most {context}, the model's context");
            return Err(Error::usage("--block-size", expected, time.to_string()));
        }
        let given = match &args.retokenize {
            None => given,
            Some(name) => {
                let tokenizer = super::model::tokenizer(name)?;
                let (given, told) = given.retokenize(tokenizer, Use::Training)?;
                super::print(format_args!("{told}\n"))?;
                given
            }
        };
        let recipe = Recipe::fine_tuning(&*given.model);
        Ok(Beginning { name: name.clone(), recipe, given: Some(given) })
    }

    fn vocabulary(&mut self, args: &Args) -> Result<Vocabulary> {
        Ok(match (&mut self.given, &args.tokenizer, self.recipe.vocab_size) {
            (Some(given), ..) => Vocabulary::Given(Box::new(given.take_tokenizer()?)),
            (None, Some(name), _) => Vocabulary::Given(Box::new(super::model::tokenizer(name)?)),
            (None, None, Some(of_preset)) => Vocabulary::Bpe(args.vocab_size.unwrap_or(of_preset)),
            (None, None, None) => Vocabulary::Characters,
        })
    }
}

pub fn run(args: Args) -> Result<()> {
    args.check()?;
    let device = args.machine.device()?;
    copla::formats::atomic::check_dir(&args.output)?;
    let Prepared { split, told, validation_sources } = args.texts.prepare(args.seed)?;
    let mut beginning = Beginning::of(&args, device)?;
    let vocabulary = beginning.vocabulary(&args)?;
    let Beginning { name, recipe, mut given } = beginning;
    let data = Data::prepare(
        split,
        vocabulary,
        &DataOptions {
            time: args.block_size.unwrap_or(recipe.time),
            rows: args.per_device_train_batch_size.unwrap_or(recipe.rows),
            streams: recipe.streams,
            packing: args.packing(&name, &recipe)?,
            mask_eos: args.mask_eos,
            seed: args.seed,
            cache: cache_dir().filter(|_| !args.no_cache).map(|dir| dir.join("tokens")),
        },
        &mut tell_tokens(),
    )?;
    let length = args.num_train_epochs.map_or(recipe.length, Length::Epochs);
    let length = args.max_steps.map_or(length, Length::Steps);
    let steps = length.steps(data.train.steps_per_epoch());
    let generation =
        given.as_mut().map(|given| std::mem::take(&mut given.generation)).unwrap_or_default();
    let (model, params) = match given {
        Some(Pretrained { model, params, .. }) => (model, params),
        None => fresh(&args, &recipe, &data, device)?,
    };
    let trainer = trainer(&args, &recipe, model, params, steps)?;
    let masked = match data.train.masked() {
        0 => String::new(),
        masked => format!("; {masked} more are masked, so it will not learn to stop"),
    };
    super::print(format_args!(
        "{told}{} documents, {} characters to train on ({} documents kept for validation)\n\
         model {}: {} parameters, vocabulary {}; {} targets an epoch, {} of them ends of text{}\n\
         {} steps of {} × {} tokens, seed {}, {} on {device}\n",
        data.train_documents,
        data.train_chars,
        data.validation.len(),
        name,
        trainer.params.count(),
        data.tokenizer.vocab_size(),
        data.train.targets(),
        data.train.eos_targets(),
        masked,
        steps,
        args.per_device_train_batch_size.unwrap_or(recipe.rows),
        args.block_size.unwrap_or(recipe.time),
        args.seed,
        args.machine.dtype(),
    ))?;
    let options = Options {
        steps,
        eval_steps: args.eval_steps.unwrap_or((steps / 16).max(1)),
        output: args.output.clone(),
        sample_tokens: 60,
        seed: args.seed,
        generation,
    };
    let mut teller = Teller::new(steps, validation_sources)?;
    let summary = copla::train::run(trainer, &data, &options, &mut teller)?;
    teller.bar.finish_and_clear();
    let best = &summary.best;
    let (ours, baseline) = (best.total.bits_per_char(), data.baseline_bits_per_char);
    super::print(format_args!(
        "validation: {ours:.3} bits per character (step {}), a Kneser-Ney character 5-gram has \
         {baseline:.3} on the same split: {:+.1} %\n{}{} steps in {}; the model is in {}\n",
        summary.best_step,
        (ours / baseline - 1.0) * 100.0,
        teller.of_each(best),
        steps,
        minutes(summary.elapsed),
        args.output.display(),
    ))?;
    print_verses(&args, device)
}

/// A model of the preset's sizes, with fresh weights.
fn fresh(
    args: &Args,
    recipe: &Recipe,
    data: &Data,
    device: Device,
) -> Result<(Box<dyn Model>, Parameters)> {
    let fresh = Fresh {
        vocab: data.tokenizer.vocab_size(),
        eos: data.tokenizer.eos()?,
        time: args.block_size.unwrap_or(recipe.time),
        dropout: args.dropout.unwrap_or(recipe.dropout),
    };
    let model = models::preset(&args.preset, fresh)?;
    let mut params = model.layout()?.build(args.machine.dtype(), device)?;
    model.initialise(&mut params, args.seed)?;
    Ok((model, params))
}

fn trainer(
    args: &Args,
    recipe: &Recipe,
    model: Box<dyn Model>,
    params: Parameters,
    steps: u64,
) -> Result<Trainer> {
    let rule = AdamW {
        beta1: args.adam_beta1,
        beta2: args.adam_beta2,
        eps: args.adam_epsilon,
        weight_decay: args.weight_decay.unwrap_or(recipe.weight_decay),
    };
    let schedule = Schedule {
        peak: args.learning_rate.unwrap_or(recipe.learning_rate),
        warmup_steps: Schedule::warmup_steps(args.warmup_steps, steps)?,
        total_steps: steps,
        decay: match args.lr_scheduler_type {
            SchedulerType::Linear => Decay::Linear,
            SchedulerType::Cosine => Decay::Cosine,
            SchedulerType::Constant => Decay::Constant,
        },
    };
    Trainer::new(model, params, rule, schedule, args.max_grad_norm, args.seed)
}

/// Verses by the model as it was saved.
fn print_verses(args: &Args, device: Device) -> Result<()> {
    let dtype = args.machine.dtype();
    let saved = super::model::load(&args.output, Use::Inference, dtype, device)?;
    for text in write_texts(&*saved.model, &saved.params, saved.tokenizer()?, 3, 120, args.seed)? {
        super::print(format_args!("\n{}\n", text.trim()))?;
    }
    Ok(())
}

/// Tells a person how the run goes: a bar on a terminal, plain lines elsewhere.
struct Teller {
    bar: ProgressBar,
    steps: u64,
    /// Of the documents that are validated on.
    sources: Vec<SourceReport>,
    /// When the last plain line was printed.
    told: Option<Instant>,
    signal: Arc<AtomicUsize>,
}

/// Tells a person now and then how far the tokens have come; of little text, nothing.
fn tell_tokens() -> impl FnMut(tokens::Progress) {
    let mut last = Instant::now();
    move |tokens::Progress { documents, chars, tokens }| {
        if last.elapsed() >= QUIET {
            last = Instant::now();
            let line = format!("tokens of {documents} documents, {chars} characters: {tokens}");
            // Whoever closed it does not want to know.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// Between plain lines.
const QUIET: Duration = Duration::from_secs(5);

impl Teller {
    fn new(steps: u64, sources: Vec<SourceReport>) -> Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_usize(number, signal.clone(), number as usize)
                .map_err(|error| Error::shape("signals", "a handler", error.to_string()))?;
        }
        let bar = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(steps).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        Ok(Teller { bar, steps, sources, told: None, signal })
    }

    /// Where there are several sources, a line for the bits per character of each.
    fn of_each(&self, found: &Evaluations) -> String {
        if self.sources.len() < 2 {
            return String::new();
        }
        let line = |(&source, found): (&usize, &Evaluation)| {
            let name = self.sources.get(source).map_or("?", |source| &source.source);
            format!("    {:.3}  {name}\n", found.bits_per_char())
        };
        found.sources.iter().map(line).collect()
    }

    /// A line of its own, above the bar where there is one.
    fn line(&self, text: String) {
        // That nobody reads it any more is found out where it matters, at the end.
        self.bar.suspend(|| {
            let _ = super::print(format_args!("{text}\n"));
        });
    }
}

impl Observer for Teller {
    fn stepped(&mut self, progress: &Progress) {
        let Progress { step, bits_per_char, tokens_per_second, time_left } = progress;
        let text = format!(
            "loss {:.3}  bits/char {bits_per_char:.3}  lr {:.1e}  {tokens_per_second:.0} tokens/s  \
             {} left",
            step.loss,
            step.learning_rate,
            minutes(*time_left),
        );
        self.bar.set_position(step.step);
        self.bar.set_message(text.clone());
        let due = self.told.is_none_or(|told| told.elapsed() >= QUIET);
        if self.bar.is_hidden() && (due || step.step == self.steps) {
            self.told = Some(Instant::now());
            self.line(format!("step {}/{}  {text}", step.step, self.steps));
        }
    }

    fn skipped(&mut self, step: &Step) {
        let Step { step, loss_scale, .. } = step;
        self.line(format!(
            "step {step}: a gradient overflowed at loss scale {loss_scale}; skipped"
        ));
    }

    fn validated(&mut self, step: u64, validation: &Evaluations, best: bool) {
        let bits = validation.total.bits_per_char();
        let unknown = match validation.total.unknown {
            0 => String::new(),
            unknown => format!(", {unknown} characters of it unknown"),
        };
        let saved = if best { "  best so far, saved" } else { "" };
        let each = self.of_each(validation);
        let text =
            format!("step {step}: validation {bits:.3} bits per character{unknown}{saved}\n{each}");
        self.line(text.trim_end().to_string());
    }

    fn sampled(&mut self, step: u64, text: &str) {
        self.line(format!("step {step} writes:\n    {}", text.trim().replace('\n', "\n    ")));
    }

    fn interrupted(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as u8),
        }
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02} min", seconds / 60, seconds % 60)
}
