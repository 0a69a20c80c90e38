"""The embedded data set, and the transforms and lists that own data needs."""
