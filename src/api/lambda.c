/* SPDX-License-Identifier: Apache-2.0 */
/* The table of Lambda's operations. */
#include "api/api_int.h"

#define FN "/2015-03-31/functions"
#define EC "/2019-09-25/functions/{F}/event-invoke-config"
#define UC "/2021-10-31/functions/{F}/url"
#define PC "/2019-09-30/functions/{F}/provisioned-concurrency"
#define EM "/2015-03-31/event-source-mappings"

/* Invoke first: it is what is called all the time. Rows without a function are operations that clients know and we do
 * not. */
const struct api_op lambda_ops[] = {
	{"lambda", "POST", FN "/{F}/invocations", "InvokeFunction", SUBJECT_FUNCTION, lambda_invoke},
	{"lambda", "GET", FN "/{F}", "GetFunction", SUBJECT_FUNCTION, lambda_get_function},
	{"lambda", "GET", FN "/{F}/configuration", "GetFunctionConfiguration", SUBJECT_FUNCTION,
	 lambda_get_function_configuration},
	{"lambda", "POST", FN, "CreateFunction", SUBJECT_OWN, lambda_create_function},
	{"lambda", "GET", FN, "ListFunctions", SUBJECT_NONE, lambda_list_functions},
	{"lambda", "PUT", FN "/{F}/code", "UpdateFunctionCode", SUBJECT_FUNCTION, lambda_update_function_code},
	{"lambda", "PUT", FN "/{F}/configuration", "UpdateFunctionConfiguration", SUBJECT_FUNCTION,
	 lambda_update_function_configuration},
	{"lambda", "DELETE", FN "/{F}", "DeleteFunction", SUBJECT_FUNCTION, lambda_delete_function},
	{"lambda", "GET", FN "/{F}/versions", "ListVersionsByFunction", SUBJECT_FUNCTION, lambda_list_versions},
	{"lambda", "GET", "/2017-03-31/tags/{F}", "ListTags", SUBJECT_FUNCTION, lambda_list_tags},
	{"lambda", "POST", "/2017-03-31/tags/{F}", "TagResource", SUBJECT_FUNCTION, lambda_tag_resource},
	{"lambda", "DELETE", "/2017-03-31/tags/{F}", "UntagResource", SUBJECT_FUNCTION, lambda_untag_resource},
	{"lambda", "GET", "/2016-08-19/account-settings", "GetAccountSettings", SUBJECT_NONE,
	 lambda_get_account_settings},
	{"lambda", "GET", "/2020-06-30/functions/{F}/code-signing-config", "GetFunctionCodeSigningConfig",
	 SUBJECT_FUNCTION, lambda_get_code_signing},
	{"lambda", "GET", "/2019-09-30/functions/{F}/concurrency", "GetFunctionConcurrency", SUBJECT_FUNCTION,
	 lambda_get_concurrency},
	{"lambda", "PUT", "/2017-10-31/functions/{F}/concurrency", "PutFunctionConcurrency", SUBJECT_FUNCTION,
	 lambda_put_concurrency},
	{"lambda", "DELETE", "/2017-10-31/functions/{F}/concurrency", "DeleteFunctionConcurrency", SUBJECT_FUNCTION,
	 lambda_delete_concurrency},
	{"lambda", "PUT", PC, "PutProvisionedConcurrencyConfig", SUBJECT_FUNCTION, lambda_put_provisioned},
	{"lambda", "GET", PC, "GetProvisionedConcurrencyConfig", SUBJECT_FUNCTION, lambda_get_provisioned},
	{"lambda", "DELETE", PC, "DeleteProvisionedConcurrencyConfig", SUBJECT_FUNCTION, lambda_delete_provisioned},
	{"lambda", "POST", FN "/{F}/versions", "PublishVersion", SUBJECT_FUNCTION, lambda_publish_version},
	{"lambda", "POST", FN "/{F}/aliases", "CreateAlias", SUBJECT_FUNCTION, lambda_create_alias},
	{"lambda", "GET", FN "/{F}/aliases", "ListAliases", SUBJECT_FUNCTION, lambda_list_aliases},
	{"lambda", "GET", FN "/{F}/aliases/{X}", "GetAlias", SUBJECT_FUNCTION, lambda_get_alias},
	{"lambda", "PUT", FN "/{F}/aliases/{X}", "UpdateAlias", SUBJECT_FUNCTION, lambda_update_alias},
	{"lambda", "DELETE", FN "/{F}/aliases/{X}", "DeleteAlias", SUBJECT_FUNCTION, lambda_delete_alias},
	{"lambda", "POST", FN "/{F}/policy", "AddPermission", SUBJECT_FUNCTION, lambda_add_permission},
	{"lambda", "GET", FN "/{F}/policy", "GetPolicy", SUBJECT_FUNCTION, lambda_get_policy},
	{"lambda", "DELETE", FN "/{F}/policy/{X}", "RemovePermission", SUBJECT_FUNCTION, lambda_remove_permission},
	{"lambda", "POST", "/2014-11-13/functions/{F}/invoke-async", "InvokeAsync", SUBJECT_FUNCTION,
	 lambda_invoke_async},
	{"lambda", "POST", "/2021-11-15/functions/{F}/response-streaming-invocations", "InvokeFunction",
	 SUBJECT_FUNCTION, lambda_invoke_stream},
	{"lambda", "POST", EM, "CreateEventSourceMapping", SUBJECT_NONE, lambda_create_mapping},
	{"lambda", "GET", EM, "ListEventSourceMappings", SUBJECT_NONE, lambda_list_mappings},
	{"lambda", "GET", EM "/{X}", "GetEventSourceMapping", SUBJECT_OWN, lambda_get_mapping},
	{"lambda", "PUT", EM "/{X}", "UpdateEventSourceMapping", SUBJECT_OWN, lambda_update_mapping},
	{"lambda", "DELETE", EM "/{X}", "DeleteEventSourceMapping", SUBJECT_OWN, lambda_delete_mapping},
	{"lambda", "PUT", EC, "PutFunctionEventInvokeConfig", SUBJECT_FUNCTION, lambda_put_invoke_config},
	{"lambda", "POST", EC, "UpdateFunctionEventInvokeConfig", SUBJECT_FUNCTION, lambda_update_invoke_config},
	{"lambda", "GET", EC, "GetFunctionEventInvokeConfig", SUBJECT_FUNCTION, lambda_get_invoke_config},
	{"lambda", "DELETE", EC, "DeleteFunctionEventInvokeConfig", SUBJECT_FUNCTION, lambda_delete_invoke_config},
	{"lambda", "GET", EC "/list", "ListFunctionEventInvokeConfigs", SUBJECT_FUNCTION, lambda_list_invoke_configs},
	{"lambda", "POST", UC, "CreateFunctionUrlConfig", SUBJECT_FUNCTION, lambda_create_url},
	{"lambda", "GET", UC, "GetFunctionUrlConfig", SUBJECT_FUNCTION, lambda_get_url},
	{"lambda", "PUT", UC, "UpdateFunctionUrlConfig", SUBJECT_FUNCTION, lambda_update_url},
	{"lambda", "DELETE", UC, "DeleteFunctionUrlConfig", SUBJECT_FUNCTION, lambda_delete_url},
	{"lambda", "GET", UC "s", "ListFunctionUrlConfigs", SUBJECT_FUNCTION, lambda_list_urls},
	{"lambda", "GET", "/2018-10-31/layers", "ListLayers", SUBJECT_NONE, NULL},
	{"lambda", "POST", "/2018-10-31/layers/{X}/versions", "PublishLayerVersion", SUBJECT_NONE, NULL},
	{0},
};
