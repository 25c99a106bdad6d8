package erp_test

import (
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
)

const secretIBAN = "DE89370400440532013000"

func maskedCall() adapters.Call {
	c := call()
	c.Body = []byte(`{"number":"4711","supplier":{"iban":"` + secretIBAN + `","pin":"998877"}}`)
	c.Size = int64(len(c.Body))
	return c
}

// An error text that quotes a masked member's value must not show it, nor may
// fields, code, result and request line.
func TestMaskedMembersAreNotKept(t *testing.T) {
	a := &answerer{status: 422, body: `{"code":"BAD","detail":"account ` + secretIBAN + ` of pin 998877 is closed",
		"errors":[{"pointer":"/bank/` + secretIBAN + `","detail":"` + secretIBAN + ` is closed"}]}`}
	route := adapters.RouteConfig{
		URL: "/accounts/{externalKey}", Map: `{no: .number, BankAccount: .supplier.iban}`, Mask: []string{"/supplier/pin"},
		Result: ".", Reference: ".id",
		Lookup: &adapters.LookupConfig{URL: "/accounts?key={externalKey}", Reference: ".id", Result: "."},
	}
	adapter := open(t, a, adapters.DestinationConfig{Mask: []string{"iban", "bankAccount"}}, route)
	v := adapter.Deliver(t.Context(), maskedCall())
	if v.Kind != ferry.Rejected || v.Text != "account *** of pin *** is closed" || len(v.Fields) != 1 ||
		v.Fields[0] != (ferry.FieldError{Field: "/bank/***", Text: "*** is closed"}) {
		t.Errorf("%+v", v)
	}
	if !strings.Contains(a.sent, secretIBAN) {
		t.Errorf("the destination gets the message as it is, got %s", a.sent)
	}

	a.status, a.body = 201, `{"id":"`+secretIBAN+`","BankAccount":"`+secretIBAN+`","said":"made `+secretIBAN+`"}`
	v = adapter.Deliver(t.Context(), maskedCall())
	if v.Kind != ferry.Delivered || v.Reference != secretIBAN || string(v.Result) != `{"BankAccount":"***","id":"***","said":"made ***"}` {
		t.Errorf("%+v, result %s", v, v.Result)
	}

	a.status = 200
	if r := adapter.Lookup(t.Context(), maskedCall()); r.State != adapters.Found || r.Reference != secretIBAN || strings.Contains(string(r.Result), secretIBAN) {
		t.Errorf("%+v, result %s", r, r.Result)
	}
	a.status, a.body = 500, "no "+secretIBAN
	if r := adapter.Lookup(t.Context(), maskedCall()); r.State != adapters.Unanswered || r.Verdict.Text != "no ***" {
		t.Errorf("%+v", r)
	}

	p, err := adapter.Preview(t.Context(), maskedCall())
	if err != nil || p.Body != `{"BankAccount":"***","no":"4711"}` {
		t.Errorf("%+v, %v", p, err)
	}
}

// What cannot be mapped says why without the value.
func TestMaskedMembersInFailedMaps(t *testing.T) {
	adapter := open(t, &answerer{status: 201}, adapters.DestinationConfig{}, adapters.RouteConfig{
		URL: "/in", Map: `{date: (.supplier.iban | isodate)}`, Mask: []string{"iban"},
	})
	v := adapter.Deliver(t.Context(), maskedCall())
	if v.Kind != ferry.Rejected || v.Code != adapters.CodeMappingFailed || strings.Contains(v.Text, secretIBAN) || !strings.Contains(v.Text, `isodate: the text "***" is no date`) {
		t.Errorf("%+v", v)
	}
}
