use super::*;

const DAY_NS: i64 = 24 * 3600 * time::SECOND_NS;
/// 2023-11-15, 00:00 UTC.
const MIDNIGHT: i64 = 1_700_006_400 * time::SECOND_NS;

fn file(day: i64, nth: i64, size: u64) -> Segment {
    let start = MIDNIGHT + day * DAY_NS + nth * time::SECOND_NS;
    Segment {
        path: Path::from(format!(
            "tables/flows/date={}/{nth:03}-{size}.parquet",
            time::date_text(time::day(start))
        )),
        size,
        rows: 1,
        min_time: start,
        max_time: start + time::SECOND_NS - 1,
        rollup: None,
        came: start,
        file: Arc::default(),
    }
}

fn chosen(files: &[Segment], now: i64, is_everything: bool) -> Vec<i64> {
    let (sizes, passed_over) = (Compaction::default(), HashSet::new());
    let choice = Choice { sizes: &sizes, passed_over: &passed_over, now, is_everything };
    let seconds = |file: Segment| (file.min_time - MIDNIGHT).rem_euclid(DAY_NS) / time::SECOND_NS;
    choice.of(files).unwrap_or_default().into_iter().map(seconds).collect()
}

const MIB: u64 = 1 << 20;

#[test]
fn several_of_one_size_are_merged_and_fewer_wait() {
    let mut files: Vec<Segment> = (0..7).map(|nth| file(0, nth, 16 * MIB)).collect();
    let now = MIDNIGHT + 1_000 * time::SECOND_NS;
    assert_eq!(chosen(&files, now, false), Vec::<i64>::new());
    files.insert(0, file(0, 7, 9 * MIB));
    assert_eq!(chosen(&files, now, false), (0..8).collect::<Vec<_>>(), "in the order of their times");
    files[0] = file(0, 7, 1 << 10);
    assert_eq!(chosen(&files, now, false), Vec::<i64>::new(), "one is of another size");
}

#[test]
fn what_is_large_enough_is_left_alone_and_nothing_grows_beyond_the_most() {
    let files: Vec<Segment> = (0..20).map(|nth| file(0, nth, 200 * MIB)).collect();
    assert_eq!(chosen(&files, MIDNIGHT + 9 * DAY_NS, true), Vec::<i64>::new());
    let files: Vec<Segment> = (0..20).map(|nth| file(0, nth, 100 * MIB)).collect();
    assert_eq!(chosen(&files, MIDNIGHT + 9 * DAY_NS, true), [0, 1, 2, 3, 4]);
}

#[test]
fn days_are_never_mixed_and_one_that_is_over_and_quiet_is_tidied_up() {
    let files = [file(0, 1, 10), file(0, 2, 90 * MIB), file(1, 3, 10), file(1, 4, 10)];
    let at = |days: i64, seconds: i64| MIDNIGHT + days * DAY_NS + seconds * time::SECOND_NS;
    assert_eq!(chosen(&files, at(0, 7_200), false), Vec::<i64>::new(), "it isn't over");
    assert_eq!(chosen(&files, at(1, 60), false), Vec::<i64>::new(), "rows may still come");
    assert_eq!(chosen(&files, at(1, 3_700), false), [1, 2]);
    assert_eq!(chosen(&files[1..], at(2, 3_700), false), [3, 4], "one file is as few as can be");
    assert_eq!(chosen(&files, at(0, 0), true), [1, 2]);
}

/// However files come, merging ends, and no row is written again more often than there are sizes.
#[test]
fn a_day_of_small_files_becomes_few_and_rows_are_rewritten_a_few_times_at_most() {
    let sizes = Compaction::default();
    let passed_over = HashSet::new();
    for size in [16 << 10, MIB, 16 * MIB] {
        let (mut files, mut written, mut appended) = (Vec::new(), 0, 0);
        let mut made = 10_000;
        for nth in 0..2_000 {
            files.push(file(0, nth, size));
            appended += size;
            let now = MIDNIGHT + nth * time::SECOND_NS;
            let choice = Choice { sizes: &sizes, passed_over: &passed_over, now, is_everything: false };
            while let Some(merged) = choice.of(&files) {
                files.retain(|file| merged.iter().all(|one| one.path != file.path));
                let size = merged.iter().map(|file| file.size).sum();
                made += 1;
                files.push(Segment { min_time: merged[0].min_time, ..file(0, made, size) });
                written += size;
            }
        }
        assert!(files.len() < 8 * 6 + (appended / sizes.enough_bytes) as usize, "{} files", files.len());
        assert!(written <= 6 * appended, "{} times", written / appended);
    }
}
