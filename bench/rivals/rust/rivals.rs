// SPDX-License-Identifier: BSD-2-Clause
//! Rivals as virtual machine monitors in Rust have them, written afresh.
//!
//! Two shapes: a bitmap to ranges by a chain of lazy adapters (words, positions
//! of their ones, ranges of one page, joined with the one before, put into a
//! vector that grows), and a bitmap of atomic words that is marked by byte
//! ranges and taken word by word. No crates: the adapter that joins behaves as
//! itertools' coalesce does, down to its own fold; the vector is the standard
//! one.
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Positions of the ones in a row of words, lowest first.
struct Ones<I> {
    words: I,
    /// Words that are behind us.
    done: usize,
    /// The word at work, and the first of its bits not looked at yet.
    at: Option<(u64, u32)>,
}

impl<I: Iterator<Item = u64>> Iterator for Ones<I> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            if self.at.is_none() {
                self.at = self.words.next().map(|word| (word, 0));
            }
            let (word, bit) = self.at?;
            if word != 0 && bit < 64 {
                let left = word >> bit;
                if left != 0 {
                    let one = bit + left.trailing_zeros();
                    self.at = Some((word, one + 1));
                    return Some(self.done as u64 * 64 + u64::from(one));
                }
            }
            self.at = None;
            self.done += 1;
        }
    }
}

/// Joins an item with the one before where `join` says Ok.
struct Joined<I: Iterator, F> {
    items: I,
    /// None: not begun. Some(None): at the end.
    held: Option<Option<I::Item>>,
    join: F,
}

impl<I, F> Iterator for Joined<I, F>
where
    I: Iterator,
    F: FnMut(I::Item, I::Item) -> Result<I::Item, (I::Item, I::Item)>,
{
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let Joined { items, held, join } = self;
        let first = match held {
            Some(held) => held.take(),
            None => {
                *held = Some(None);
                items.next()
            }
        }?;

        Some(
            items
                .try_fold(first, |before, item| match join(before, item) {
                    Ok(both) => Ok(both),
                    Err((whole, next)) => {
                        *held = Some(Some(next));
                        Err(whole)
                    }
                })
                .unwrap_or_else(|whole| whole),
        )
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (low, high) = self.items.size_hint();
        let mine = usize::from(!matches!(self.held, Some(None)));

        (
            usize::from(low + mine > 0),
            high.and_then(|h| h.checked_add(mine)),
        )
    }

    fn fold<B, G: FnMut(B, I::Item) -> B>(self, init: B, mut each: G) -> B {
        let Joined {
            mut items,
            held,
            mut join,
        } = self;
        let first = held.unwrap_or_else(|| items.next());

        match first {
            None => init,
            Some(first) => {
                let (last, acc) = items.fold((first, init), |(before, acc), item| {
                    match join(before, item) {
                        Ok(both) => (both, acc),
                        Err((whole, next)) => (next, each(acc, whole)),
                    }
                });
                each(acc, last)
            }
        }
    }
}

/// A range of guest memory, in bytes.
struct MemoryRange {
    gpa: u64,
    length: u64,
}

const PAGE: u64 = 4096;

fn ranges(words: impl Iterator<Item = u64>) -> impl Iterator<Item = MemoryRange> {
    let ones = Ones {
        words,
        done: 0,
        at: None,
    };

    Joined {
        items: ones.map(|page| page..page + 1),
        held: None,
        join: |before: Range<u64>, item: Range<u64>| {
            if before.end == item.start {
                Ok(before.start..item.end)
            } else {
                Err((before, item))
            }
        },
    }
    .map(|pages| MemoryRange {
        gpa: pages.start * PAGE,
        length: (pages.end - pages.start) * PAGE,
    })
}

/// As struct bench_found begins.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Found {
    ranges: u64,
    pages: u64,
    sum: u64,
}

fn add(found: Found, range: &MemoryRange) -> Found {
    Found {
        ranges: found.ranges + 1,
        pages: found.pages + range.length / PAGE,
        sum: found.sum.wrapping_add(range.gpa / PAGE),
    }
}

const NOTHING: Found = Found {
    ranges: 0,
    pages: 0,
    sum: 0,
};

/// # Safety
/// Both bitmaps have `n` words.
unsafe fn union<'a>(a: *const u64, b: *const u64, n: usize) -> impl Iterator<Item = u64> + 'a {
    let a = std::slice::from_raw_parts(a, n);
    let b = std::slice::from_raw_parts(b, n);

    a.iter().zip(b).map(|(x, y)| x | y)
}

/// # Safety
/// Both bitmaps have `n` words.
#[no_mangle]
pub unsafe extern "C" fn rival_rust_streamed(a: *const u64, b: *const u64, n: usize) -> Found {
    let mut found = NOTHING;

    // A loop, as who sends them writes it: by next(), not by fold().
    for range in ranges(union(a, b, n)) {
        found = add(found, &range);
    }
    found
}

/// # Safety
/// Both bitmaps have `n` words.
#[no_mangle]
pub unsafe extern "C" fn rival_rust_collected(a: *const u64, b: *const u64, n: usize) -> Found {
    let table: Vec<MemoryRange> = ranges(union(a, b, n)).collect();

    table.iter().fold(NOTHING, add)
}

/// A bitmap that threads mark by bytes.
pub struct AtomicBitmap {
    map: Vec<AtomicU64>,
    pages: usize,
    page_bytes: NonZeroUsize,
}

impl AtomicBitmap {
    fn mark_dirty(&self, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        let first = start / self.page_bytes;
        let last = start.saturating_add(len - 1) / self.page_bytes;

        for page in first..=last {
            if page >= self.pages {
                break;
            }
            self.map[page >> 6].fetch_or(1 << (page & 63), Ordering::SeqCst);
        }
    }

    fn get_and_reset(&self) -> Vec<u64> {
        self.map
            .iter()
            .map(|word| word.fetch_and(0, Ordering::SeqCst))
            .collect()
    }
}

#[no_mangle]
pub extern "C" fn rival_rust_bitmap_create(pages: usize) -> Box<AtomicBitmap> {
    Box::new(AtomicBitmap {
        map: (0..(pages + 63) / 64).map(|_| AtomicU64::new(0)).collect(),
        pages,
        page_bytes: NonZeroUsize::new(PAGE as usize).unwrap(),
    })
}

#[no_mangle]
pub extern "C" fn rival_rust_bitmap_destroy(bitmap: Option<Box<AtomicBitmap>>) {
    drop(bitmap);
}

/// # Safety
/// `page` has `n` numbers.
#[no_mangle]
pub unsafe extern "C" fn rival_rust_bitmap_mark(bitmap: &AtomicBitmap, page: *const u32, n: usize) {
    for page in std::slice::from_raw_parts(page, n) {
        bitmap.mark_dirty(*page as usize * PAGE as usize, 8);
    }
}

/// Takes all and collects it: what a migration's round does.
#[no_mangle]
pub extern "C" fn rival_rust_bitmap_take(bitmap: &AtomicBitmap) -> Found {
    let table: Vec<MemoryRange> = ranges(bitmap.get_and_reset().into_iter()).collect();

    table.iter().fold(NOTHING, add)
}
