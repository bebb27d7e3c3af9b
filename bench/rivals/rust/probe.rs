// SPDX-License-Identifier: BSD-2-Clause
//! Compiles wherever rivals.rs does.
#[no_mangle]
pub extern "C" fn rival_rust_probe() -> usize {
    vec![1; 3].len()
}
