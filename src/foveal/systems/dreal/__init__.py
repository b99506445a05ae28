"""DREAL: attention modules that are told how much they helped, by a critic that is thrown away."""
