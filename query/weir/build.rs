//! The web page is embedded: a newly built page means a newly built binary.
fn main() {
    println!("cargo:rerun-if-changed=../../ui/dist");
}
