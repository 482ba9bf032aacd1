"""What is fuzzed: every reader of other people's bytes, the rules, the grid language, edits and fixes."""
