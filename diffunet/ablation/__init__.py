"""Sweeps over fields of the plans: variants, trained and predicted once each, and compared."""
