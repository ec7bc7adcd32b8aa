//! With real programs, and with shell scripts that misbehave in their place.
