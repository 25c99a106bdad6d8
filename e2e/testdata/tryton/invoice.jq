def several: if type == "array" then . elif . == null then [] else [.] end;
def text: if type == "object" then .["#"] else . end;
.Invoice
| (.AccountingSupplierParty.Party.PartyLegalEntity | several[0].RegistrationName | text) as $supplier
| {
    type: "in", journal: JOURNAL, account: PAYABLE,
    party: {"Hafenlicht AG": PARTY}[$supplier], invoice_address: ADDRESS,
    invoice_date: (.IssueDate | trytondate),
    lines: [["create", [.InvoiceLine | several[] | {
      type: "line", account: EXPENSE, description: (.Item.Name // .ID | text),
      quantity: (.InvoicedQuantity | text | decimal), unit_price: (.Price.PriceAmount | text | trytondecimal)
    }]]]
  }
