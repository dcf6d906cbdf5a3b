//! The check finds what is wrong and nothing else, and leaves no operation out.

use super::*;
use crate::doctor::cases;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_family_of_operations_has_a_case() {
    let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let folders = std::fs::read_dir(ops).unwrap().map(|entry| entry.unwrap());
    let families: BTreeSet<String> = folders
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let covered: BTreeSet<String> =
        cases::all(1).iter().map(|case| case.family.to_string()).collect();
    let missing: Vec<_> = families.difference(&covered).collect();
    assert!(families.len() > 15 && missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn the_cpu_agrees_with_itself() {
    for seed in [1, 2] {
        for case in cases::all(seed) {
            for dtype in DTYPES {
                let row = check(&case, Device::Cpu, dtype, false);
                assert!(row.failure.is_none() && row.error == 0.0, "{row:?}");
            }
        }
    }
}

#[test]
fn a_number_is_as_far_off_as_its_bound_allows() {
    let at = Tolerance { absolute: 0.1, relative: 0.01 };
    let floats = |x: &[f64]| vec![(x.to_vec(), false)];
    // The root mean square of 0 and 10 is 7.07.
    let (error, bound) = furthest(&floats(&[0.1, 9.7]), &floats(&[0.0, 10.0]), at);
    assert!((error - 0.3).abs() < 1e-9 && (bound - 0.2707).abs() < 1e-4, "{error} {bound}");
    let (error, bound) = furthest(&floats(&[0.3, 9.9]), &floats(&[0.0, 10.0]), at);
    assert!((error - 0.3).abs() < 1e-9 && (bound - 0.1707).abs() < 1e-4, "{error} {bound}");
    assert_eq!(furthest(&floats(&[f64::NAN]), &floats(&[1.0]), at).0, f64::INFINITY);
    assert_eq!(furthest(&floats(&[f64::INFINITY]), &floats(&[f64::INFINITY]), at).0, 0.0);
    assert_eq!(furthest(&floats(&[1.0]), &floats(&[1.0, 2.0]), at).0, f64::INFINITY);
    let ids = |x: f64| vec![(vec![x], true)];
    assert_eq!(furthest(&ids(7.0), &ids(9.0), at), (1.0, 0.5));
    assert_eq!(furthest(&ids(7.0), &ids(7.0), at).0, 0.0);
}

#[test]
fn a_failure_is_in_the_verdict() {
    let case = &cases::all(1)[0];
    let right = check(case, Device::Cpu, DType::F32, true);
    assert!(right.gigabytes_per_second.is_some_and(|speed| speed > 0.0));
    let wrong = Row { failure: Some("beyond its bound".into()), ..right.clone() };
    assert!(verdict(&[right.clone(), right.clone()], Device::Cpu).is_ok());
    let error = verdict(&[right, wrong], Device::Cpu).unwrap_err().to_string();
    assert!(error.ends_with("failures: 1 of 2, such as abs in f32"), "{error}");
}
