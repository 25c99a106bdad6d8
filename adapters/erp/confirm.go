package erp

import (
	"net/url"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/httpauth"
	"ferry/mapping"
)

// defaultConfirmHeader carries the address that a destination calls back.
const defaultConfirmHeader = "Ferry-Confirm-Url"

// shownConfirmURL stands for the address in previews, which have no message.
const shownConfirmURL = "https://broker/v1/messages/id/confirm?token=***"

// compileConfirm reads how the destination says later what became of a message.
func (r *route) compileConfirm() error {
	cfg := r.cfg
	switch r.confirm = cfg.Confirm; r.confirm {
	case "", adapters.ConfirmPoll:
	case adapters.ConfirmCallback:
		r.confirmHeader = defaultConfirmHeader
	default:
		return bad("confirm: there is no %q", cfg.Confirm).WithHint("poll or callback; without it a 2xx means delivered")
	}
	if cfg.ConfirmHeader != "" {
		switch {
		case r.confirm != adapters.ConfirmCallback:
			return bad("confirmHeader is for confirm: callback")
		case cfg.ConfirmHeader == "-":
			r.confirmHeader = ""
		case !httpauth.IsHeaderName(cfg.ConfirmHeader) || httpauth.IsConnectionHeader(cfg.ConfirmHeader) || carriesSecret(cfg.ConfirmHeader):
			return bad("confirmHeader: %q cannot carry the address to call back", cfg.ConfirmHeader)
		default:
			r.confirmHeader = cfg.ConfirmHeader
		}
	}
	inURL := slices.Contains(r.url.names(), confirmURL) || slices.Contains(r.query.names(), confirmURL)
	switch {
	case inURL && r.confirm != adapters.ConfirmCallback:
		return bad("{confirmUrl} is for confirm: callback")
	case !inURL && r.confirm == adapters.ConfirmCallback && r.confirmHeader == "":
		return bad("the destination is not told where to call back: confirmHeader is - and {confirmUrl} stands nowhere")
	case cfg.Poll == nil:
		return nil
	case r.confirm != adapters.ConfirmPoll:
		return bad("poll is for confirm: poll")
	}
	for _, p := range []struct {
		setting, src string
		program      **mapping.Program
	}{
		{"poll.state", cfg.Poll.State, &r.poll.state},
		{"poll.reference", cfg.Poll.Reference, &r.poll.reference},
		{"poll.result", cfg.Poll.Result, &r.poll.result},
		{"poll.text", cfg.Poll.Text, &r.poll.text},
	} {
		var err error
		if *p.program, err = compile(p.setting, p.src); err != nil {
			return err
		}
	}
	return nil
}

// withoutToken takes the token of the address to call back out of what is kept
// and shown: it stands in our own request, and the destination may quote it.
func withoutToken(v *ferry.Verdict, confirm string) {
	token := tokenOf(confirm)
	if token == "" {
		return
	}
	for _, text := range []*string{&v.Request, &v.Text, &v.Code, &v.Reference, &v.RemoteCorrelationID} {
		*text = strings.ReplaceAll(*text, token, "***")
	}
	for i := range v.Fields {
		v.Fields[i].Text = strings.ReplaceAll(v.Fields[i].Text, token, "***")
	}
	if strings.Contains(string(v.Result), token) {
		v.Result = nil
	}
}

// tokenOf is the part of the address that must not show. It has no character
// that is escaped in addresses.
func tokenOf(confirm string) string {
	if confirm == "" {
		return ""
	}
	u, err := url.Parse(confirm)
	if err != nil {
		return ""
	}
	return u.Query().Get("token")
}
