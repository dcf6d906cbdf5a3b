//! `copla generate`: a prompt in, its continuation out.

use copla::Result;

#[derive(clap::Args)]
pub struct Args {
    /// Text to continue
    #[arg(long, allow_hyphen_values = true)]
    prompt: String,
}

pub fn run(args: Args) -> Result<()> {
    super::print(format_args!("{}\n", args.prompt))
}
