package store

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// TestErrorsAlike holds errors of destinations against what a person would call the
// same failure: what stands in one line is one group, different lines are different ones.
func TestErrorsAlike(t *testing.T) {
	lines := [][]string{
		// Business Central.
		{
			`The field Vendor No. of table Purchase Header contains a value (V00012) that cannot be found in the related table (Vendor).  CorrelationId:  0f8fad5b-d9cb-469f-a165-70867728950e.`,
			`The field Vendor No. of table Purchase Header contains a value (KRED-7) that cannot be found in the related table (Vendor).  CorrelationId:  7c9e6679-7425-40de-944b-e07fc1f90ae7.`,
		},
		{
			`The field Item No. of table Purchase Header contains a value (V00012) that cannot be found in the related table (Item).  CorrelationId:  0f8fad5b-d9cb-469f-a165-70867728950e.`,
		},
		{
			"Posting Date is not within your range of allowed posting dates in Gen. Journal Line Journal Template Name='GENERAL',Journal Batch Name='B1',Line No.='10000'.",
			"Posting Date is not within your range of allowed posting dates in Gen. Journal Line Journal Template Name='GENERAL',Journal Batch Name='B17',Line No.='2,340,000'.",
		},
		{"The Purchase Header already exists. Identification fields and values: Document Type='Invoice',No.='PI-1042'", "The Purchase Header already exists. Identification fields and values: Document Type='Invoice',No.='107/2026'"},
		// SAP.
		{"F5 808 Field BUKRS. is a required field for G/L account 1000 0000113100", "F5 702 Field BUKRS. is a required field for G/L account 2000 113100"},
		{"Document number 1900000123 1000 2026 was locked by user MEYER", "Document number 1900000999 1000 2025 was locked by user MEYER"},
		{"Posting period 011 2026 is not open", "Posting period 12 2025 is not open"},
		{"Balance in transaction currency: 118,90 EUR", "Balance in transaction currency: 1.234.567,00 EUR", "Balance in transaction currency: 1 234,56 EUR", "Balance in transaction currency: 1'234.56 EUR"},
		{`Resource not found for the segment 'A_SupplierInvoice(SupplierInvoice='5105600123',FiscalYear='2026')'`, `Resource not found for the segment 'A_SupplierInvoice(SupplierInvoice='5105600987',FiscalYear='2025')'`},
		// Odoo, Tryton, ERPNext.
		{"ValidationError: The invoice INV/2026/00012 (partner 'ACME Tools GmbH') is already posted.", "ValidationError: The invoice INV/2025/1 (partner 'Foo & Bar AG') is already posted."},
		{`duplicate key value violates unique constraint "account_move_unique_name" DETAIL: Key (name, journal_id)=(BILL/2026/11/0004, 2) already exists.`, `duplicate key value violates unique constraint "account_move_unique_name" DETAIL: Key (name, journal_id)=(BILL/2026/1/17, 12) already exists.`},
		{`duplicate key value violates unique constraint "res_partner_ref_key" DETAIL: Key (ref)=(4711) already exists.`},
		{`Could not find Supplier: SUP-0042`, `Could not find Supplier: SUP-1`},
		{`You cannot process the document "PINV-26-01177" because the field 'Due Date' is empty.`, `You cannot process the document "PINV-9" because the field 'Due Date' is empty.`},
		{`You cannot process the document "PINV-26-01177" because the field 'Payment Term' is empty.`},
		// Acumatica, NetSuite, and the like.
		{`PX.Data.PXException: Error: 'Vendor' cannot be found in the system. at line 12`, `PX.Data.PXException: Error: 'Vendor' cannot be found in the system. at line 7`},
		{`PX.Data.PXException: Error: 'Branch' cannot be found in the system. at line 12`},
		{`{"error":{"code":"INVALID_KEY_OR_REF","message":"Invalid entity reference key 8871 for subsidiary 3."}}`, `{"error":{"code":"INVALID_KEY_OR_REF","message":"Invalid entity reference key 12 for subsidiary 14."}}`},
		{`{"error":{"code":"USER_ERROR","message":"Invalid entity reference key 8871 for subsidiary 3."}}`},
		{`{"message":"Total mismatch","expected":118.90,"got":119.00}`, `{"message":"Total mismatch","expected":1234.5,"got":-2}`},
		// Dates and times.
		{"Period closed on 2026-11-23", "Period closed on 23.11.2026", "Period closed on 11/23/2026", "Period closed on 23 Nov 2026", "Period closed on November 23, 2026", "Period closed on 2026-11-23T08:30:00.120+01:00"},
		{"Locked since 08:30:12", "Locked since 9:05"},
		{"locked in May 2026 by the closing run", "locked in December 2025 by the closing run"},
		// Ids.
		{"request {0F8FAD5B-D9CB-469F-A165-70867728950E} failed", "request {7c9e6679-7425-40de-944b-e07fc1f90ae7} failed"},
		{"object 0x7ffee4c0 is gone", "object 0x1 is gone"},
		{"hash deadbeefcafe does not match", "hash 9f86d081884c7d65 does not match"},
		{"token QWxhZGRpbjpvcGVuIHNlc2FtZQ is not known", "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_1 is not known"},
		{"no mailbox for anna.meyer@contoso.com", "no mailbox for b.o'neil+erp@mail.example.org", "no mailbox for x@y.de"},
		{`cannot open C:\import\2026\invoice_17.xml`, `cannot open C:\import\2025\invoice_9.xml`},
		{"cannot open /srv/import/2026/11/a7.xml", "cannot open /srv/import/2025/1/b12.xml"},
		{"POST https://erp.example/api/invoices/4711?token=abc&x=1 was refused", "POST https://erp.example/api/invoices/12?token=zzz&x=y was refused"},
		{"lines 1, 2 and 3 have no price", "lines 11, 12 and 13 have no price"},
		{"lines 1,2,3,4 differ", "lines 7 differ", "lines 1, 2 differ"},
		// What stays apart.
		{"field 'PostingDate' is missing"},
		{"field 'DocumentDate' is missing"},
		{"field \"Posting Date\" is missing"},
		{"field \"Document Date\" is missing"},
		{"das Feld 'Fällig am' fehlt"},
		{"das Feld 'Gebucht am' fehlt"},
		{"the supplier is blocked"},
		{"the item is blocked"},
		{"仕入先 4711 が見つかりません", "仕入先 ４２ が見つかりません"},
		{"品目 4711 が見つかりません"},
		{"PurchaseInvoiceHeaderEntityCollection is read only"},
		{"PurchaseOrderHeaderEntityCollection is read only"},
		{"can't post: it's closed for 'North Region' now", "can't post: it's closed for 'South Region 2' now"},
		{""},
	}
	seen, texts := map[string]string{}, 0
	for _, line := range lines {
		masked := maskError(line[0])
		if other, ok := seen[masked]; ok {
			t.Errorf("%q and %q are one group: %q", line[0], other, masked)
		}
		seen[masked] = line[0]
		for _, text := range line {
			texts++
			if got := maskError(text); got != masked {
				t.Errorf("%q is %q,\nand %q is %q", line[0], masked, text, got)
			}
			if again := maskError(masked); again != masked {
				t.Errorf("%q masked again is %q", masked, again)
			}
		}
	}
	if texts < 60 {
		t.Errorf("only %d texts", texts)
	}
	long := maskError(strings.Repeat("ü 12 x ", 4000))
	if len(long) > mostMasked+len("…") {
		t.Errorf("%d bytes are kept", len(long))
	}
}

// The group of all that have none of their own goes with them, and leaves room.
func TestGroupsMakeRoom(t *testing.T) {
	l := newLedger(t)
	row := func(change func(*routeRow)) {
		must0(t, l.updateRoute(t.Context(), testRoute, nil, rowChange(change)))
	}
	first := deadOf(t, l, 1, "the supplier is blocked")[0]
	row(func(r *routeRow) { r.Groups += ferry.MaxGroups - 1 })
	beyond := deadOf(t, l, 2, "the item is blocked")
	if g := rec(t, l, beyond[0]).Dead.Group; g != ferry.GroupOther {
		t.Fatalf("beyond the bound: group %s", g)
	}
	groups, err := l.Groups(ferry.DeadLetterFilter{Reason: ferry.ReasonRejected}, func(string) string { return "" })
	if err != nil || len(groups) != 2 || groups[0].ID != ferry.GroupOther || groups[0].Count != 2 {
		t.Errorf("groups %+v, %v", groups, err)
	}
	must0(t, l.AcceptDead(t.Context(), first, "R", "", "ann")) // there is room for one
	if g := rec(t, l, deadOf(t, l, 1, "the customer is blocked")[0]).Dead.Group; g == ferry.GroupOther {
		t.Error("a group that vanished left no room")
	}
	if g := rec(t, l, deadOf(t, l, 1, "the period is closed")[0]).Dead.Group; g != ferry.GroupOther {
		t.Error("there is room for more than the bound")
	}
	for _, id := range beyond {
		must0(t, l.Discard(t.Context(), id, "", "ann"))
	}
	groups, err = l.Groups(ferry.DeadLetterFilter{}, func(string) string { return "" })
	if err != nil || len(groups) != 2 || fmt.Sprint(groups[0].Count, groups[1].Count) != "1 1" {
		t.Errorf("groups %+v, %v", groups, err)
	}
}

// The sample of a group is one of its dead letters, also when the last was sent again.
func TestASampleIsADeadLetter(t *testing.T) {
	l := newLedger(t)
	ids := deadOf(t, l, 3, "the supplier is blocked")
	must0(t, l.Replay(t.Context(), ids[2], nil, "", "", "ann"))
	groups, err := l.Groups(ferry.DeadLetterFilter{}, func(string) string { return "" })
	if err != nil || len(groups) != 1 || groups[0].Sample != ids[1] || groups[0].Count != 2 {
		t.Errorf("%+v, %v", groups, err)
	}
}

// First and last are of the dead letters that a group has now, whatever was done to
// others: sent again, discarded, restored.
func TestFirstAndLastOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var ids []ferry.ID
		for range 4 {
			ids = append(ids, deadOf(t, l, 1, "the supplier is blocked")...)
			time.Sleep(time.Hour)
		}
		want := func(first, last ferry.ID, when string) {
			t.Helper()
			for name, f := range map[string]ferry.DeadLetterFilter{"kept": {}, "counted": {Sender: "flow"}} {
				groups, err := l.Groups(f, func(string) string { return "" })
				if err != nil || len(groups) != 1 {
					t.Fatalf("%s: %s: %+v, %v", when, name, groups, err)
				}
				g := groups[0]
				if !g.First.Equal(rec(t, l, first).Dead.At) || !g.Last.Equal(rec(t, l, last).Dead.At) || g.Sample != last {
					t.Errorf("%s: %s: from %s to %s, such as %s", when, name, g.First, g.Last, g.Sample.Short())
				}
			}
		}
		want(ids[0], ids[3], "at first")
		must0(t, l.Discard(t.Context(), ids[0], "", "ann"))
		want(ids[1], ids[3], "the first is discarded")
		must0(t, l.Restore(t.Context(), ids[0], "", "ann"))
		want(ids[0], ids[3], "the first is restored")
		must0(t, l.Replay(t.Context(), ids[3], nil, "", "", "ann"))
		want(ids[0], ids[2], "the last is sent again")
		must0(t, l.Discard(t.Context(), ids[1], "", "ann"))
		must0(t, l.Restore(t.Context(), ids[1], "", "ann"))
		want(ids[0], ids[2], "one between them is restored")
		failWith(t, l, ids[3], "the supplier is blocked")
		want(ids[0], ids[3], "one failed anew")
		must0(t, l.sound())
	})
}

func rowChange(change func(*routeRow)) func(*bbolt.Tx, *routeRow) error {
	return func(_ *bbolt.Tx, row *routeRow) error {
		change(row)
		return nil
	}
}
