//! `--device` and `--dtype` of the commands: what they compute is the CPU's, and what is missing is
//! said in one line with the documented exit code.

use std::path::Path;
use std::process::{Command, Output};

/// Runs copla with settings of the emulator, such as the card that it plays.
fn copla(arguments: &[&str], settings: &[(&str, &str)], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla"))
        .args(arguments)
        .envs(settings.iter().copied())
        .current_dir(directory)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code, and the one line on stderr.
fn refused(output: &Output) -> (i32, String) {
    let said = text(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("copla: ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().unwrap(), lines[0].to_string())
}

/// A run that takes moments also under the emulator.
fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let sizes = ["train", "--block-size", "16", "--per-device-train-batch-size", "2"];
    let data = ["--data", "verses.txt", "--vocab-size", "270", "--output", "model"];
    let steps = if more.contains(&"--max-steps") { &[][..] } else { &["--max-steps", "2"] };
    [&sizes[..], &data, steps, more].concat()
}

/// A folder with a few documents in it.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let verses: Vec<String> =
        (0..12).map(|i| format!("el {i} de la luna\nno sabe de mí\n")).collect();
    std::fs::write(place.path().join("verses.txt"), verses.join("\n")).unwrap();
    place
}

/// Whether there is a g++ to build the emulator with.
fn emulator() -> bool {
    let found = Command::new("g++").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("COPLA_REQUIRE_EMULATOR").is_none(), "no g++");
    if !found {
        eprintln!("skipped: no g++");
    }
    found
}

#[test]
fn a_model_trained_on_an_emulated_p100_writes_on_the_cpu() {
    if !emulator() {
        return;
    }
    let place = place();
    for dtype in ["f32", "f16", "bf16"] {
        let arguments = train(&["--device", "emulated", "--dtype", dtype]);
        let ran = copla(&arguments, &[("COPLA_EMULATOR_SM", "60")], place.path());
        assert!(ran.status.success(), "{dtype}: {}", text(&ran.stderr));
        assert!(text(&ran.stdout).contains(&format!("{dtype} on cuda:0")), "{}", text(&ran.stdout));
    }
    let write =
        ["generate", "--model", "model", "--prompt", "el", "--json", "--max-new-tokens", "5"];
    let [cpu, emulated] = ["cpu", "emulated"].map(|device| {
        let ran = copla(&[&write[..], &["--device", device]].concat(), &[], place.path());
        assert!(ran.status.success(), "{device}: {}", text(&ran.stderr));
        text(&ran.stdout)
    });
    assert_eq!(cpu, emulated);
}

#[test]
fn sixteen_bits_train_on_the_cpu_as_well() {
    let place = place();
    for flag in [&["--fp16"][..], &["--bf16"], &["--dtype", "f16"]] {
        let ran = copla(&train(&[&["--device", "cpu"], flag].concat()), &[], place.path());
        assert!(ran.status.success(), "{flag:?}: {}", text(&ran.stderr));
    }
    let data =
        ["evaluate", "--model", "model", "--data", "verses.txt", "--device", "cpu", "--json"];
    let loss = |dtype| {
        let ran = copla(&[&data[..], &["--dtype", dtype]].concat(), &[], place.path());
        let json: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        json["loss"].as_f64().unwrap()
    };
    let (wide, narrow) = (loss("f32"), loss("f16"));
    assert!((wide - narrow).abs() < 1e-2, "{wide} and {narrow}");
}

#[test]
fn a_card_that_is_too_small_says_how_much_is_missing() {
    if !emulator() {
        return;
    }
    let place = place();
    let arguments = train(&["--device", "emulated"]);
    let ran = copla(&arguments, &[("COPLA_EMULATOR_MEMORY", "12000000")], place.path());
    let (code, line) = refused(&ran);
    assert_eq!(code, 3, "{line}");
    for words in ["memory of cuda:0", "bytes more", "bytes free", "are held here"] {
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn what_is_no_device_or_dtype_is_refused() {
    let place = place();
    for (arguments, words) in [
        (["--device", "gpu"], "expected auto, cpu, cuda, cuda:N or emulated"),
        (["--device", "cuda:x"], "expected auto, cpu, cuda, cuda:N or emulated"),
        (["--dtype", "f64"], "expected f32, f16 or bf16"),
        (["--fp16", "--bf16"], "cannot be used with"),
    ] {
        let (code, line) = refused(&copla(&train(&arguments), &[], place.path()));
        assert_eq!(code, 2, "{line}");
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn a_machine_without_cuda_says_so_and_auto_takes_the_cpu() {
    if copla::cuda::count().is_ok() {
        return eprintln!("skipped: there is a driver here");
    }
    let place = place();
    let (code, line) = refused(&copla(&train(&["--device", "cuda"]), &[], place.path()));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("expected NVIDIA's driver"), "{line}");
    let ran = copla(&train(&["--device", "auto"]), &[], place.path());
    assert!(ran.status.success() && ran.stderr.is_empty(), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("f32 on cpu"), "{}", text(&ran.stdout));
}

#[test]
fn a_loss_that_is_not_finite_names_the_step_and_the_layer() {
    let place = place();
    let much = ["--device", "cpu", "--learning-rate", "1e30", "--max-grad-norm", "0"];
    let arguments = train(&[&much[..], &["--max-steps", "9", "--eval-steps", "9"]].concat());
    let (code, line) = refused(&copla(&arguments, &[], place.path()));
    assert_eq!(code, 4, "{line}");
    assert!(line.contains("training step") && line.contains("hidden."), "{line}");
}
