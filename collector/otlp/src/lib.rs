//! OTLP traces and the rows that they are stored as.
