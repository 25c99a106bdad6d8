def several: if type == "array" then . elif . == null then [] else [.] end;
def text: if type == "object" then .["#"] else . end;
def amount: text | decimal;
(.Invoice // .CreditNote)
| [(.InvoiceLine // .CreditNoteLine | several)[] | {
    id: (.ID | text),
    quantity: (.InvoicedQuantity // .CreditedQuantity | amount),
    amount: (.LineExtensionAmount | amount)
  }] as $lines
| {
    number: (.ID | text),
    issued: .IssueDate,
    supplier: (.AccountingSupplierParty.Party.PartyLegalEntity | several[0].RegistrationName | text),
    currency: (.DocumentCurrencyCode | text),
    total: (.LegalMonetaryTotal.PayableAmount | amount),
    linesTotal: ([$lines[].amount] | decsum),
    tax: ([.TaxTotal | several[].TaxAmount | amount] | decsum),
    lines: $lines
  }
