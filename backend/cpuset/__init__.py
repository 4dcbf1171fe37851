"""Changes of cpusets: the rules, the prediction, the change, and confinement for a migration."""
