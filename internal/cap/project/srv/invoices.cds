// What the tests deliver to: an invoice with lines, whose external id is unique,
// and a supplier whose key the sender gives.
namespace ferry;

entity SupplierInvoice {
  key ID         : UUID;
      externalId : String(40);
      supplier   : String(10)     @mandatory;
      number     : String(16)     @mandatory;
      currency   : String(3)      @mandatory;
      date       : Date;
      total      : Decimal(15, 2) @assert.range: [0, 1000000];
      status     : String(10) default 'draft';
      modifiedAt : Timestamp      @odata.etag  @cds.on.insert: $now  @cds.on.update: $now;
      lines      : Composition of many SupplierInvoiceLine on lines.invoice = $self;
}

annotate SupplierInvoice with @assert.unique: {externalId: [externalId]};

entity SupplierInvoiceLine {
  key ID      : UUID;
      invoice : Association to SupplierInvoice;
      text    : String(80);
      amount  : Decimal(15, 2);
}

entity Supplier {
  key code       : String(10);
  key country    : String(2);
      name       : String(80) @mandatory;
      modifiedAt : Timestamp  @odata.etag  @cds.on.insert: $now  @cds.on.update: $now;
}

@path: 'erp'
@requires: 'authenticated-user'
service ERP {
  entity SupplierInvoices as projection on ferry.SupplierInvoice actions {
    action release() returns SupplierInvoices;
  };
  entity SupplierInvoiceLines as projection on ferry.SupplierInvoiceLine;
  entity Suppliers as projection on ferry.Supplier;
}
