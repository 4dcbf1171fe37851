"""Which memory of a process is used: heat, and how it was learnt."""
