package api

// rescue is what proves and saves a ledger.
func rescue() []endpoint { return nil }
