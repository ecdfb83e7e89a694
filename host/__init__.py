"""What the programs stand on: settings, embedded servers, supervisor, logs."""
