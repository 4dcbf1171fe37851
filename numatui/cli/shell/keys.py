"""`numatui keys`: lists the keys of the terminal UI and the names that config.yaml uses for them."""

from __future__ import annotations

from numatui.cli.printing import output
from numatui.tui.key_table import all_keys


def keys(json: output.Json = False, csv: output.Csv = False) -> None:
    """List the keys of the terminal UI. `keys:` in config.yaml changes a key by its name in this list.

    Example: numatui keys
    """
    found = all_keys()
    documents = [{"name": name, "keys": keys, "does": does} for name, keys, does in found]
    if json:
        output.print_json("keys", {"keys": documents})
    elif csv:
        output.print_csv_of(documents)
    else:
        output.print_table(["NAME", "KEYS", "DOES"], [list(one) for one in found])
