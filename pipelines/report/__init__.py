"""Views of stores, runs and plans for people: tables and queries. Only `verify --repair` may change a store here."""
