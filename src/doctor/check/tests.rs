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
fn the_largest_error_and_the_mean_one_have_their_bounds() {
    let at = Tolerance { absolute: 0.1, relative: 0.01 };
    let close = |x: f64, y: f64| (x - y).abs() < 1e-9;
    let distance = Distance::of(&[0.3, 10.0], &[0.0, 10.0], at);
    assert!(close(distance.largest, 0.3) && close(distance.bound, 0.2), "{distance:?}");
    assert!(distance.share() > 1.0, "{distance:?}");
    // 0.19 off everywhere but at one large number: no single error is too large, their mean is.
    let mut expected = vec![0.0; 100];
    expected[0] = 10.0;
    let mut found = vec![0.19; 100];
    found[0] = 10.0;
    let distance = Distance::of(&found, &expected, at);
    assert!(distance.largest < distance.bound && distance.mean > distance.mean_bound);
    assert!(close(distance.mean_bound, 0.11) && distance.share() > 1.0, "{distance:?}");
}

#[test]
fn what_is_no_number_or_not_there_is_infinitely_far_off() {
    let floats = |x: &[f64]| vec![(x.to_vec(), false)];
    let largest =
        |found: &[f64], expected: &[f64]| furthest(&floats(found), &floats(expected), SAME).largest;
    assert_eq!(largest(&[f64::NAN], &[1.0]), f64::INFINITY);
    assert_eq!(largest(&[1.0], &[f64::NAN]), f64::INFINITY);
    assert_eq!(largest(&[1.0], &[1.0, 2.0]), f64::INFINITY);
    assert_eq!(largest(&[f64::INFINITY, f64::NAN], &[f64::INFINITY, f64::NAN]), 0.0);
}

#[test]
fn an_id_is_right_or_wrong() {
    let ids = |x: f64| vec![(vec![x, 5.0], true)];
    let at = Tolerance { absolute: 100.0, relative: 1.0 };
    assert!(furthest(&ids(7.0), &ids(8.0), at).share() > 1.0);
    assert_eq!(furthest(&ids(7.0), &ids(7.0), at).share(), 0.0);
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
