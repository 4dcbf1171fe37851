"""The shipped scenarios, one YAML file each; `scenario.shipped` loads them."""
