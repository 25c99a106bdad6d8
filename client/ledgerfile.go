package client

import (
	"context"

	"ferry"
)

// LedgerFile reads how the ledger's file is used, and how its last compaction ended.
func (c *Client) LedgerFile(ctx context.Context) (ferry.LedgerFile, error) {
	var f ferry.LedgerFile
	err := c.get(ctx, "/v1/ledger", nil, &f)
	return f, err
}

// CompactLedger has the ledger compacted. It returns when that has begun; LedgerFile
// tells of its end.
func (c *Client) CompactLedger(ctx context.Context, note string) (ferry.LedgerFile, error) {
	var f ferry.LedgerFile
	in := struct {
		Note string `json:"note,omitempty"`
	}{note}
	err := c.post(ctx, "/v1/ledger/compact", in, &f)
	return f, err
}
