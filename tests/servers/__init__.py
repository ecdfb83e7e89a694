"""Real servers for the tests: both database editions, Valkey and Redis, Mosquitto."""
