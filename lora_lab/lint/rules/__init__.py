"""The rules, one file per topic. A rule counts only if `lora_lab.lint.register` lists it."""
