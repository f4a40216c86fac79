"""YAML files: one experiment each, listing only what differs from the defaults."""
