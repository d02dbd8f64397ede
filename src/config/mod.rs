//! The typed settings: default, file, environment and flags.
